import pLimit from "p-limit";
import { z } from "zod";
import type { Capability, Policy, SampleRequest, Sampler, Trajectory } from "../contract/index.js";
import { anInteger, anObject, aSignal, checkArguments, orNull } from "../engine/arguments.js";
import { invalid, show } from "../engine/checks.js";
import { aPolicy, aSampleRequest } from "../engine/contractKinds.js";
import { FiresteelError } from "../engine/error.js";
import { publishWeights } from "../weights/publishWeights.js";
import { JsonClient } from "./jsonClient.js";
import { type Answer, readAnswer, readAs } from "./openaiAnswer.js";
import { type OpenAISamplerOptions, type SettledOptions, settleOptions } from "./openaiOptions.js";
import {
  checkRequest,
  completionBody,
  partsOf,
  type RequestPart,
  trajectoryOf,
} from "./openaiRequest.js";

const modelSchema = z.object({
  id: z.string(),
  owned_by: z.string().nullish(),
  vocab_size: z.number().int().min(1).nullish(),
  weight_version: z.number().int().min(0).nullish(),
  system_fingerprint: z.string().nullish(),
});
const modelsSchema = z.object({ data: z.array(modelSchema).min(1) });
type Model = z.infer<typeof modelSchema>;

/**
 * Rollouts from a server with OpenAI's completions: `firesteel serve`, or another that answers with token
 * ids and their log-probs (vLLM, llama.cpp). Token ids travel; nothing is tokenised again.
 *
 * Of `firesteel serve`, every rollout is asked for by its stream: however often a request is repeated, it gives
 * the rollout that the policy itself would give in this process. Other servers draw anew. Either way exactly the
 * rollouts asked for come back, in order, or the call fails.
 */
export class OpenAISampler implements Sampler {
  readonly name = "openai";
  readonly capabilities: ReadonlySet<Capability>;
  readonly #options: SettledOptions;
  readonly #client: JsonClient;
  /** Whether it is `firesteel serve`. */
  readonly #own: boolean;
  readonly #model: string;
  #vocabSize: number | null;
  /** Of the run's weights. */
  #version = 0;
  /** Of the weights published last; null: none were. */
  #fingerprint: string | null = null;

  private constructor(options: SettledOptions, client: JsonClient, own: boolean, model: Model) {
    this.#options = options;
    this.#client = client;
    this.#own = own;
    this.#model = model.id;
    this.#vocabSize = model.vocab_size ?? null;
    const current = own && options.directory !== null;
    this.capabilities = new Set<Capability>([
      "logProbs",
      "greedy",
      ...(own ? (["streams", "stop"] as const) : []),
      ...(current ? (["currentWeights"] as const) : []),
    ]);
  }

  /**
   * Asks the server what it is; waits for one that is not there yet.
   *
   * @param signal ends the waiting
   * @throws FiresteelError ERR_OPTION, ERR_SAMPLER, ERR_ABORTED
   * @example
   * const sampler = await OpenAISampler.connect({ url: "http://127.0.0.1:8000", directory: "weights" });
   * await train({ sampler, steps: 20 });
   */
  static async connect(
    given: OpenAISamplerOptions,
    signal: AbortSignal | null = null,
  ): Promise<OpenAISampler> {
    checkArguments({ given, signal }, { given: anObject, signal: orNull(aSignal) });
    const options = settleOptions(given);
    const client = new JsonClient(options);
    const read = (answer: unknown) => readAs(modelsSchema, answer).data;
    const models = await client.ask("/v1/models", null, "a list of models", read, signal);
    const model =
      options.model === null ? models[0]! : models.find(({ id }) => id === options.model);
    if (model === undefined) {
      const expected = `one of ${models.map(({ id }) => show(id)).join(", ")}`;
      throw invalid("ERR_OPTION", "sampler.model", expected, options.model);
    }
    const own = model.owned_by === "firesteel";
    if (!own && options.directory !== null) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected firesteel serve at ${options.url}, which reads sampler.directory, but it is ` +
          `${show(model.owned_by)}'s server`,
      );
    }
    return new OpenAISampler(options, client, own, model);
  }

  /**
   * @throws FiresteelError ERR_SAMPLER where the server has no good answer within the options' retries and
   * patience; ERR_SHAPE; ERR_ABORTED
   */
  async sample(request: SampleRequest): Promise<Trajectory[]> {
    checkArguments({ request }, { request: aSampleRequest });
    checkRequest(request, this.capabilities.has("stop"));
    const parts = partsOf(request, this.#options.rolloutsPerRequest, this.#own);
    const limit = pLimit(this.#options.concurrency);
    const failed = new AbortController();
    const signal =
      request.signal === null ? failed.signal : AbortSignal.any([request.signal, failed.signal]);
    let first: unknown = null;
    const answers = await Promise.all(
      parts.map((part) =>
        limit(async () => {
          try {
            return await this.#complete(request, part, signal);
          } catch (error) {
            // The others' requests are of no use any more.
            first ??= error;
            failed.abort();
            throw first;
          }
        }),
      ),
    );
    return answers
      .flatMap(({ rollouts, version }) => rollouts.map((rollout) => [rollout, version] as const))
      .map(([rollout, version], id) => trajectoryOf(id, rollout, this.#own ? version! : 0));
  }

  /**
   * Publishes the weights into `directory` and waits until the server has loaded them. Without a directory,
   * only counts how far behind the server is.
   *
   * @param signal ends the waiting
   * @throws FiresteelError ERR_SAMPLER, ERR_CHECKPOINT, ERR_ABORTED
   */
  async refresh(version: number, policy: Policy, signal: AbortSignal | null = null): Promise<void> {
    checkArguments(
      { version, policy, signal },
      {
        version: anInteger(0, Number.MAX_SAFE_INTEGER),
        policy: aPolicy,
        signal: orNull(aSignal),
      },
    );
    const { directory } = this.#options;
    if (policy.kind !== "tokens") {
      const message = `Expected a policy over tokens for the sampler but it acts in ${policy.kind}`;
      throw new FiresteelError("ERR_SAMPLER", message);
    }
    this.#version = version;
    if (directory === null) {
      // A server of ours says with every answer what its weights are; others have those they began with.
      if (!this.#own) this.#checkStaleness(0);
      return;
    }
    const { fingerprint } = await publishWeights(directory, version, policy);
    this.#fingerprint = fingerprint;
    const model = await this.#client.ask(
      "/v1/weights",
      { version, fingerprint },
      `weights ${version} of ${directory}`,
      (answer) => {
        const loaded = readAs(modelSchema, answer);
        this.#checkPublished(loaded.weight_version, loaded.system_fingerprint);
        return loaded;
      },
      signal,
    );
    this.#vocabSize = model.vocab_size ?? null;
  }

  async #complete(request: SampleRequest, part: RequestPart, signal: AbortSignal): Promise<Answer> {
    const { maxCompletionLength } = request;
    const { prompts, count, streams } = part;
    const answer = await this.#client.ask(
      "/v1/completions",
      completionBody(request, part, this.#model, this.#own),
      `${streams.length} completions`,
      (body) => {
        const asked = { prompts, count, maxCompletionLength, vocabSize: this.#vocabSize };
        const read = readAnswer(body, asked);
        if (this.#options.directory !== null) this.#checkPublished(read.version, read.fingerprint);
        if (this.#own && read.version === null) throw new Error("it has no weight_version");
        return read;
      },
      signal,
    );
    if (this.#own) this.#checkStaleness(answer.version!);
    return answer;
  }

  /** @throws Error where an answer comes from others than the weights published last */
  #checkPublished(version: number | null | undefined, fingerprint: string | null | undefined) {
    if (version === this.#version && fingerprint === this.#fingerprint) return;
    throw new Error(
      `it comes from weights ${version} (${fingerprint}) instead of ${this.#version} ` +
        `(${this.#fingerprint})`,
    );
  }

  /** @throws FiresteelError ERR_SAMPLER where the server's weights may not lie behind, and do */
  #checkStaleness(version: number): void {
    const { url, allowStale } = this.#options;
    const behind = this.#version - version;
    if (allowStale || behind <= 0) return;
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected weights ${this.#version} from ${url} but it has those of ${behind} optimiser steps before; give ` +
        "sampler.directory, where firesteel serve reads them, or sampler.allowStale",
    );
  }
}
