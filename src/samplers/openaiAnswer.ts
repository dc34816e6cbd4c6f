import { z } from "zod";
import type { Finish, Prompt } from "../contract/index.js";
import { show } from "../engine/checks.js";

/** One completion, read from an answer. */
export interface AnsweredRollout {
  readonly prompt: Prompt;
  readonly ids: Int32Array;
  readonly logProb: Float32Array;
  readonly text: string;
  readonly finish: Finish;
}

export interface Answer {
  /** In the order asked for. */
  readonly rollouts: readonly AnsweredRollout[];
  /** As the server says; null where it does not. */
  readonly version: number | null;
  readonly fingerprint: string | null;
}

/** What the answer has to fit. */
interface AskedRollouts {
  readonly prompts: readonly Prompt[];
  /** Of each prompt. */
  readonly count: number;
  readonly maxCompletionLength: number;
  /** Token ids are below; null: not known. */
  readonly vocabSize: number | null;
}

const ids = z.array(z.number().int().min(0).max(0x7fffffff));
const choiceSchema = z.object({
  index: z.number().int().min(0),
  text: z.string(),
  finish_reason: z.enum(["stop", "length"]),
  token_ids: ids.nullish(),
  prompt_token_ids: ids.nullish(),
  logprobs: z.object({
    tokens: z.array(z.string()).nullish(),
    token_logprobs: z.array(z.number()).nullish(),
    content: z.array(z.object({ id: z.number().int().min(0), logprob: z.number() })).nullish(),
  }),
});
const answerSchema = z.object({
  choices: z.array(choiceSchema),
  weight_version: z.number().int().min(0).nullish(),
  system_fingerprint: z.string().nullish(),
});

/** An answer of a form. @throws Error naming the first field that is wrong */
export function readAs<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new Error(`${path.join(".") || "it"} is wrong (${message})`);
}

/** A log-prob may exceed 0 by its rounding alone. */
const roundingOfOne = 1e-2;

/**
 * The rollouts of a completions answer, as firesteel and vLLM give them (`token_ids`), vLLM with
 * `return_tokens_as_token_ids` ("token_id:7"), or llama.cpp (`logprobs.content`).
 *
 * @throws Error saying what is wrong with it
 */
export function readAnswer(answer: unknown, asked: AskedRollouts): Answer {
  const {
    choices,
    weight_version: version,
    system_fingerprint: fingerprint,
  } = readAs(answerSchema, answer);
  const wanted = asked.prompts.length * asked.count;
  if (choices.length !== wanted) {
    throw new Error(`${choices.length} completions came instead of ${wanted}`);
  }
  const rollouts: AnsweredRollout[] = [];
  for (const choice of choices) {
    const { index } = choice;
    const prompt = asked.prompts[Math.floor(index / asked.count)];
    if (prompt === undefined) throw new Error(`index ${index} came for ${wanted} completions`);
    if (rollouts[index] !== undefined) throw new Error(`index ${index} came twice`);
    rollouts[index] = readChoice(choice, prompt, asked);
  }
  return { rollouts, version: version ?? null, fingerprint: fingerprint ?? null };
}

function readChoice(
  choice: z.infer<typeof choiceSchema>,
  prompt: Prompt,
  asked: AskedRollouts,
): AnsweredRollout {
  const { index, text, finish_reason: finish, logprobs, prompt_token_ids: promptIds } = choice;
  const at = `choice ${index}`;
  const tokens = choice.token_ids ?? tokensOf(logprobs);
  const values = logprobs.token_logprobs ?? logprobs.content?.map(({ logprob }) => logprob);
  if (tokens === null) throw new Error(`${at} has no token ids`);
  if (values === undefined) throw new Error(`${at} has no log-probs`);
  if (tokens.length !== values.length) {
    throw new Error(`${at} has ${values.length} log-probs for ${tokens.length} tokens`);
  }
  if (tokens.length === 0 || tokens.length > asked.maxCompletionLength) {
    throw new Error(`${at} has ${tokens.length} tokens of at most ${asked.maxCompletionLength}`);
  }
  const { vocabSize } = asked;
  const foreign = vocabSize === null ? undefined : tokens.find((id) => id >= vocabSize);
  if (foreign !== undefined) throw new Error(`${at} has token ${foreign} of ${vocabSize}`);
  const logProb = Float32Array.from(values);
  const wrong = logProb.find((value) => !Number.isFinite(value) || value > roundingOfOne);
  if (wrong !== undefined) throw new Error(`${at} has ${show(wrong)} for a log-prob`);
  if (promptIds && promptIds.join() !== prompt.tokens.join()) {
    throw new Error(`${at} completes another prompt`);
  }
  return { prompt, ids: Int32Array.from(tokens), logProb, text, finish };
}

function tokensOf({ tokens, content }: z.infer<typeof choiceSchema>["logprobs"]): number[] | null {
  if (content) return content.map(({ id }) => id);
  const named = tokens?.map((token) => /^token_id:(\d+)$/.exec(token)?.[1]);
  return named?.every((id) => id !== undefined) ? named.map(Number) : null;
}
