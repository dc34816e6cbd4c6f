import { z } from "zod";
import type { RandomStream } from "../contract/sampler.js";
import { didYouMean, show } from "../engine/checks.js";
import { flag, integer, type Option, orNull } from "../options/option.js";
import { badParameter } from "./refusal.js";

const maxSeed = Number.MAX_SAFE_INTEGER;
const tokenId = z.number().int().min(0).max(0x7fffffff);
const word = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 1);

function option<T>(schema: z.ZodType<T>, expected: string, initial: T): Option<T> {
  return { schema, expected, default: initial, description: "" };
}

/** What a completion request may say, under OpenAI's names; vLLM's where OpenAI has none. */
const fields = {
  model: option(z.string().nullable(), "a string", null),
  prompt: option(
    z.union([
      z.string(),
      z.array(z.string()).min(1),
      z.array(tokenId).min(1),
      z.array(z.array(tokenId).min(1)).min(1),
    ]),
    "a string, token ids, or an array of either",
    "",
  ),
  max_tokens: integer(16, { min: 1, max: 2 ** 24 }, ""),
  temperature: option(
    z.union([z.literal(0), z.number().min(1e-4).max(1e4)]),
    "0 (the most probable token each time) or a number in [0.0001, 10000]",
    1,
  ),
  n: integer(1, { min: 1, max: 2 ** 16 }, ""),
  stop: option(
    z.union([z.string().min(1).max(256), z.array(z.string().min(1).max(256)).max(16)]),
    "a string, or at most 16, of 1 to 256 characters each",
    [],
  ),
  stop_token_ids: option(z.array(tokenId).max(64), "at most 64 token ids", []),
  seed: orNull(integer, null, { min: 0, max: maxSeed }, ""),
  logprobs: option(
    z.literal(0).nullable(),
    "0 (log-probs of the chosen tokens; alternatives are not offered) or null",
    null,
  ),
  stream: flag(false, ""),
  stream_options: option(
    z.strictObject({ include_usage: z.boolean().optional() }).nullable(),
    "{ include_usage }",
    null,
  ),
  return_token_ids: flag(false, ""),
  // Firesteel's own: rollouts by name, and the most probable tokens with log-probs at a temperature.
  streams: option(
    z
      .array(z.tuple([word, word]))
      .nullable()
      .transform((streams): readonly RandomStream[] | null => streams),
    "an array of pairs of integers in [0, 2^32 - 1]",
    null,
  ),
  greedy: flag(false, ""),
};

/** Parameters of OpenAI and vLLM that have no effect here: only these values are true to that. */
const neutral: Readonly<Record<string, { value: unknown; reason: string }>> = {
  top_p: { value: 1, reason: "tokens are drawn from the untruncated distribution" },
  top_k: { value: -1, reason: "tokens are drawn from the untruncated distribution" },
  min_p: { value: 0, reason: "tokens are drawn from the untruncated distribution" },
  frequency_penalty: { value: 0, reason: "penalties are not offered" },
  presence_penalty: { value: 0, reason: "penalties are not offered" },
  repetition_penalty: { value: 1, reason: "penalties are not offered" },
  best_of: { value: 1, reason: "ask for n completions and choose" },
  echo: { value: false, reason: "return_token_ids gives the prompt's tokens" },
  suffix: { value: null, reason: "text is only completed at its end" },
  logit_bias: { value: null, reason: "biases are not offered" },
  user: { value: null, reason: "nobody reads it" },
};

/** A completion request as the server understands it. */
export interface CompletionRequest {
  readonly model: string | null;
  readonly prompts: readonly (string | readonly number[])[];
  /** Completions of each prompt. */
  readonly n: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly greedy: boolean;
  readonly stopTexts: readonly string[];
  readonly stopIds: readonly number[];
  readonly seed: number | null;
  /** One per completion, in order; null: `seed` decides, or chance. */
  readonly streams: readonly RandomStream[] | null;
  readonly logprobs: boolean;
  readonly tokenIds: boolean;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

/**
 * Checks the body of a completion request. As with OpenAI, null stands for a parameter that is not given.
 *
 * @throws Refusal 400 for what is unknown, wrong or contradictory: nothing is ignored
 */
export function parseCompletionRequest(body: Readonly<Record<string, unknown>>): CompletionRequest {
  const values = { ...parseFields(body) };
  if (body.prompt === undefined || body.prompt === null) {
    throw badParameter("prompt", "Expected a prompt but it is missing", "missing");
  }
  const { prompt, stop, stream_options: streamOptions, temperature } = values;
  const prompts = promptsOf(prompt);
  const wanted = prompts.length * values.n;
  if (values.streams !== null && values.seed !== null) {
    throw badParameter("streams", "Expected either seed or streams, not both");
  }
  if (values.streams !== null && values.streams.length !== wanted) {
    const came = `an array of ${values.streams.length}`;
    throw badParameter(
      "streams",
      `Expected ${wanted} streams (prompts times n) but received ${came}`,
    );
  }
  if (streamOptions !== null && !values.stream) {
    throw badParameter("stream_options", "Expected stream_options only where stream is true");
  }
  return {
    model: values.model,
    prompts,
    n: values.n,
    maxTokens: values.max_tokens,
    temperature: temperature === 0 ? 1 : temperature,
    greedy: values.greedy || temperature === 0,
    stopTexts: typeof stop === "string" ? [stop] : stop,
    stopIds: values.stop_token_ids,
    seed: values.seed,
    streams: values.streams,
    logprobs: values.logprobs === 0,
    tokenIds: values.return_token_ids,
    stream: values.stream,
    includeUsage: streamOptions?.include_usage ?? false,
  };
}

type Fields = {
  [K in keyof typeof fields]: (typeof fields)[K] extends Option<infer T> ? T : never;
};

function parseFields(body: Readonly<Record<string, unknown>>): Fields {
  const values: Record<string, unknown> = {};
  for (const [name, { default: initial }] of Object.entries(fields)) values[name] = initial;
  for (const [name, value] of Object.entries(body)) {
    if (Object.hasOwn(neutral, name)) {
      const { value: only, reason } = neutral[name]!;
      if (value === only || value === null) continue;
      const message = `Expected ${show(only)} for ${name} but received ${show(value)}: ${reason}`;
      throw badParameter(name, message, "unsupported_parameter");
    }
    if (!Object.hasOwn(fields, name)) {
      const near = didYouMean(name, Object.keys(fields));
      const message = `Expected only known parameters but received ${show(name)}${near}`;
      throw badParameter(name, message, "unknown_parameter");
    }
    if (value === null) continue;
    const { schema, expected } = fields[name as keyof typeof fields];
    const parsed = schema.safeParse(value);
    if (!parsed.success) {
      throw badParameter(name, `Expected ${expected} for ${name} but received ${show(value)}`);
    }
    values[name] = parsed.data;
  }
  return values as unknown as Fields;
}

function promptsOf(prompt: Fields["prompt"]): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as (string | number[])[]);
}
