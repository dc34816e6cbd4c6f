import { setTimeout as delay } from "node:timers/promises";
import type { Finish, Prompt, Trajectory } from "../contract/data.js";
import type { RandomStream } from "../contract/sampler.js";
import type { TokenWatch } from "../policies/token/generate.js";
import type { ServedWeights } from "./servedWeights.js";

/** Requests that come this close together share a batch; the first of them waits as long. */
const gatherMilliseconds = 2;

/** What rollouts must share to be sampled together. */
interface SamplingSettings {
  readonly temperature: number;
  readonly greedy: boolean;
  readonly maxTokens: number;
  /** Token ids, sorted. */
  readonly stop: readonly number[];
}

/** Rollouts that belong to one request. */
interface SamplingJob {
  readonly weights: ServedWeights;
  readonly prompts: readonly Prompt[];
  /** Per prompt. */
  readonly count: number;
  /** One per rollout, in order. */
  readonly streams: readonly RandomStream[];
  readonly settings: SamplingSettings;
  readonly signal: AbortSignal;
  /** Sees the tokens of its rollouts as they come, and can end one. */
  readonly watch: TokenWatch | null;
}

interface Waiting {
  readonly job: SamplingJob;
  /** Of jobs that can be sampled together. */
  readonly key: string;
  readonly resolve: (rollouts: Trajectory[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Samples what waits in batches, one after the other: the request that has waited longest, with those behind
 * it that have the same weights and settings. A rollout depends on its stream alone, so a request's
 * answer is the same in any batch.
 */
export class Batcher {
  readonly #maxRollouts: number;
  readonly #signal: AbortSignal;
  #queue: Waiting[] = [];
  #running: Promise<void> | null = null;

  /**
   * @param maxRollouts of a batch; a single job may have more
   * @param signal ends what is being sampled
   */
  constructor(maxRollouts: number, signal: AbortSignal) {
    this.#maxRollouts = maxRollouts;
    this.#signal = signal;
  }

  /**
   * A job's rollouts. Where its signal aborts, they end at the token they have reached.
   *
   * @throws FiresteelError as TokenPolicy's `sample`
   */
  sample(job: SamplingJob): Promise<Trajectory[]> {
    return new Promise((resolve, reject) => {
      const { weights, settings } = job;
      const key = JSON.stringify([weights.version, weights.fingerprint, settings]);
      this.#queue.push({ job, key, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is sampled and nothing waits. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      await delay(gatherMilliseconds);
      await this.#sampleTogether(this.#nextBatch());
    }
    this.#running = null;
  }

  #nextBatch(): Waiting[] {
    const batch: Waiting[] = [];
    const left: Waiting[] = [];
    let rollouts = 0;
    for (const waiting of this.#queue) {
      const { job, key, resolve } = waiting;
      const fits = rollouts + job.streams.length <= this.#maxRollouts;
      const same = batch.length === 0 || (key === batch[0]!.key && fits);
      if (job.signal.aborted) {
        resolve([]);
      } else if (same) {
        batch.push(waiting);
        rollouts += job.streams.length;
      } else {
        left.push(waiting);
      }
    }
    this.#queue = left;
    return batch;
  }

  async #sampleTogether(batch: readonly Waiting[]): Promise<void> {
    if (batch.length === 0) return;
    const owners = batch.flatMap((waiting) =>
      waiting.job.streams.map((_, rollout) => ({ ...waiting, rollout })),
    );
    const { weights, settings } = batch[0]!.job;
    let begun = false;
    const watch: TokenWatch = (rollout, token, logProb): Finish | null => {
      begun = true;
      const { job, rollout: own } = owners[rollout]!;
      return job.signal.aborted ? "abort" : (job.watch?.(own, token, logProb) ?? null);
    };
    try {
      const rollouts = await weights.policy.sample(
        {
          prompts: batch.flatMap(({ job }) => job.prompts),
          counts: batch.flatMap(({ job }) => job.prompts.map(() => job.count)),
          streams: batch.flatMap(({ job }) => job.streams),
          temperature: settings.temperature,
          greedy: settings.greedy,
          maxCompletionLength: settings.maxTokens,
          stop: settings.stop,
          hook: null,
          signal: this.#signal,
        },
        watch,
      );
      let at = 0;
      for (const { job, resolve } of batch) {
        resolve(rollouts.slice(at, at + job.streams.length));
        at += job.streams.length;
      }
    } catch (error) {
      // What is too much together may do one by one; nobody has seen a token yet.
      const together = batch.length > 1 && !begun && !this.#signal.aborted;
      if (together) for (const waiting of batch) await this.#sampleTogether([waiting]);
      else for (const { reject } of batch) reject(error);
    }
  }
}
