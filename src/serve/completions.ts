import type { IncomingMessage, ServerResponse } from "node:http";
import type { Finish, Trajectory } from "../contract/data.js";
import type { TokenWatch } from "../policies/token/generate.js";
import { Batcher } from "./batcher.js";
import {
  brokenPolicy,
  completionPrompts,
  completionStreams,
  type RequestLimits,
  wholeChoice,
} from "./completion.js";
import { AnswerFormat, usageOf } from "./completionAnswer.js";
import { type CompletionRequest, parseCompletionRequest } from "./completionRequest.js";
import { EventStream } from "./eventStream.js";
import { Refusal, sendJson, unavailable } from "./refusal.js";
import { readBody } from "./requestBody.js";
import { RolloutText } from "./rolloutText.js";
import type { ServedWeights, WeightStore } from "./servedWeights.js";

interface CompletionLimits extends RequestLimits {
  /** Requests that run or wait at once. */
  readonly maxConcurrent: number;
  /** Rollouts that are sampled together. */
  readonly maxBatch: number;
  readonly maxBodyBytes: number;
}

/** Answers POST /v1/completions. */
export class Completions {
  readonly #store: WeightStore;
  readonly #batcher: Batcher;
  readonly #model: string;
  readonly #limits: CompletionLimits;
  #active = 0;

  /** @param signal ends what is being sampled */
  constructor(store: WeightStore, model: string, limits: CompletionLimits, signal: AbortSignal) {
    this.#store = store;
    this.#model = model;
    this.#limits = limits;
    this.#batcher = new Batcher(limits.maxBatch, signal);
  }

  /** @param signal aborts when nobody waits for the answer any more */
  async answer(
    incoming: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const { maxConcurrent, maxBodyBytes } = this.#limits;
    if (this.#active >= maxConcurrent) {
      const message = `Expected at most ${maxConcurrent} requests at a time; try again`;
      const headers = { "retry-after": "1" };
      throw new Refusal(429, message, { code: "too_many_requests", headers });
    }
    this.#active += 1;
    try {
      const request = parseCompletionRequest(await readBody(incoming, maxBodyBytes));
      if (request.model !== null && request.model !== this.#model) {
        const message = `Expected ${JSON.stringify(this.#model)} for model: no other is served`;
        throw new Refusal(404, message, { param: "model", code: "model_not_found" });
      }
      await this.#complete(request, response, signal);
    } finally {
      this.#active -= 1;
    }
  }

  async #complete(request: CompletionRequest, response: ServerResponse, signal: AbortSignal) {
    const weights = this.#store.acquire();
    if (weights === null) {
      throw unavailable("no_weights", `No weights in ${this.#store.directory} yet`, 1);
    }
    let sampled: Promise<Trajectory[]> | null = null;
    try {
      const prompts = completionPrompts(request, weights, this.#limits);
      const streams = completionStreams(request);
      const progress = new Progress(request, response, weights, this.#model, streams.length);
      const { temperature, greedy, maxTokens } = request;
      sampled = this.#batcher.sample({
        weights,
        prompts,
        count: request.n,
        streams,
        settings: {
          temperature,
          greedy,
          maxTokens,
          stop: [...new Set(request.stopIds)].sort((a, b) => a - b),
        },
        signal,
        watch: progress.watch,
      });
      const rollouts = await unlessAborted(sampled, signal);
      const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
      progress.end(rollouts, promptTokens);
    } finally {
      // Also where nobody waits any more: rollouts in the making still read these weights.
      const release = () => this.#store.release(weights);
      if (sampled === null) release();
      else void sampled.then(release, release);
    }
  }

  /** Resolves when nothing is sampled and nothing waits. */
  idle(): Promise<void> {
    return this.#batcher.idle();
  }
}

/** What one request's answer has come to. */
class Progress {
  readonly #request: CompletionRequest;
  readonly #response: ServerResponse;
  readonly #format: AnswerFormat;
  readonly #headers: Record<string, string>;
  readonly #events: EventStream | null;
  /** Per rollout; null where nobody has to look at the text before its end. */
  readonly #texts: (RolloutText | null)[];
  readonly watch: TokenWatch | null;

  constructor(
    request: CompletionRequest,
    response: ServerResponse,
    weights: ServedWeights,
    model: string,
    rollouts: number,
  ) {
    this.#request = request;
    this.#response = response;
    this.#format = new AnswerFormat(weights, model, request);
    this.#headers = { "x-weight-version": `${weights.version}` };
    const { tokenizer } = weights.policy;
    const looksAtText = tokenizer !== null && (request.stream || request.stopTexts.length > 0);
    this.#texts = Array.from({ length: rollouts }, () =>
      looksAtText ? new RolloutText(tokenizer, request.stopTexts) : null,
    );
    this.#events = request.stream
      ? new EventStream(response, this.#headers, this.#format, request, this.#texts)
      : null;
    this.watch = request.stream || looksAtText ? this.#see.bind(this) : null;
  }

  #see(rollout: number, token: number, logProb: number): Finish | null {
    const stopped = this.#texts[rollout]?.push(token) ?? false;
    this.#events?.token(rollout, token, logProb);
    return stopped ? "stop" : null;
  }

  end(rollouts: readonly Trajectory[], promptTokens: number): void {
    const tokens = rollouts.reduce((sum, { actions }) => sum + actions.length, 0);
    const usage = usageOf(promptTokens, tokens);
    if (this.#events !== null) {
      if (rollouts.some(({ finish }) => finish === "error")) throw brokenPolicy();
      this.#events.end(rollouts, this.#request.includeUsage ? usage : undefined);
      return;
    }
    const choices = rollouts.map((rollout, i) => wholeChoice(rollout, i, this.#texts[i]!));
    sendJson(this.#response, 200, this.#format.body(choices, usage), this.#headers);
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
