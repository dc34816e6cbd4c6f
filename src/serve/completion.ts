import { randomBytes } from "node:crypto";
import type { Prompt, Trajectory } from "../contract/data.js";
import type { RandomStream } from "../contract/sampler.js";
import { FiresteelError } from "../engine/error.js";
import { deriveStream } from "../nn/random.js";
import type { AnswerChoice } from "./completionAnswer.js";
import type { CompletionRequest } from "./completionRequest.js";
import { badParameter, Refusal } from "./refusal.js";
import type { RolloutText } from "./rolloutText.js";
import type { ServedWeights } from "./servedWeights.js";

export interface RequestLimits {
  /** Completions of one request. */
  readonly maxCompletions: number;
  /** Tokens that one request may ask for: completions times their length. */
  readonly maxTokens: number;
}

/**
 * The prompts as these weights' policy reads them.
 *
 * @throws Refusal 400 where they are too long, have no encoding, or the request asks for too much
 */
export function completionPrompts(
  request: CompletionRequest,
  { policy }: ServedWeights,
  limits: RequestLimits,
): Prompt[] {
  const { config, tokenizer } = policy;
  const { n, maxTokens, stopTexts, stopIds } = request;
  if (tokenizer === null && stopTexts.length > 0) {
    throw badParameter("stop", "Expected stop_token_ids: this policy has no tokenizer");
  }
  for (const id of stopIds) checkId("stop_token_ids", id, config.vocabSize);
  const completions = request.prompts.length * n;
  if (completions > limits.maxCompletions) {
    const message = `Expected at most ${limits.maxCompletions} completions (prompts times n) but ${completions} are asked for`;
    throw badParameter("n", message, "too_many_completions");
  }
  const prompts = request.prompts.map((given, i): Prompt => {
    const tokens = typeof given === "string" ? encoded(given) : Int32Array.from(given);
    for (const id of tokens) checkId("prompt", id, config.vocabSize);
    if (tokens.length === 0) throw badParameter("prompt", "Expected at least one token");
    if (tokens.length >= config.maxLength) {
      const message = `Expected fewer tokens than the context's ${config.maxLength} but received ${tokens.length}`;
      throw badParameter("prompt", message, "context_length_exceeded");
    }
    return { id: `${i}`, messages: [], tokens, label: null, columns: {} };
  });
  const asked = prompts.reduce(
    (sum, { tokens }) => sum + n * Math.min(maxTokens, config.maxLength - tokens.length),
    0,
  );
  if (asked > limits.maxTokens) {
    const message = `Expected at most ${limits.maxTokens} tokens for all completions but ${asked} are asked for`;
    throw badParameter("max_tokens", message, "too_many_tokens");
  }
  return prompts;

  function encoded(text: string): Int32Array {
    if (tokenizer === null) {
      throw badParameter("prompt", "Expected token ids: this policy has no tokenizer");
    }
    try {
      return tokenizer.encode(text);
    } catch (cause) {
      if (!(cause instanceof FiresteelError)) throw cause;
      throw badParameter("prompt", cause.message);
    }
  }
}

function checkId(param: string, id: number, vocabSize: number): void {
  if (id < vocabSize) return;
  throw badParameter(param, `Expected token ids below ${vocabSize} but received ${id}`);
}

/** The random streams of a request: as it names them, from its seed, or new ones. */
export function completionStreams({
  prompts,
  n,
  seed,
  streams,
}: CompletionRequest): readonly RandomStream[] {
  if (streams !== null) return streams;
  const base = seed ?? randomBytes(6).readUIntBE(0, 6);
  return prompts.flatMap((_, p) => Array.from({ length: n }, (_, i) => deriveStream(base, p, i)));
}

/**
 * What the answer says of a whole rollout.
 *
 * @param text what its watch has seen; null where nobody had to look
 * @throws Refusal 500 where the policy gave no distribution
 */
export function wholeChoice(
  rollout: Trajectory,
  index: number,
  text: RolloutText | null,
): AnswerChoice {
  const { finish, actions, columns, prompt } = rollout;
  if (finish === "error") throw brokenPolicy();
  const { samplerLogProb } = columns;
  if (actions.kind !== "tokens" || samplerLogProb?.level !== "action") throw brokenPolicy();
  text?.takeAll();
  return {
    index,
    text: text?.text ?? rollout.text,
    finish,
    ids: [...actions.ids],
    logProb: [...samplerLogProb.values],
    textOffset: 0,
    promptIds: [...prompt.tokens],
  };
}

export function brokenPolicy(): Refusal {
  const message = "The policy's network gave no distribution over tokens (NaN)";
  return new Refusal(500, message, { code: "broken_policy" });
}
