import type { Prompt, RandomStream, SampleRequest, Trajectory } from "../contract/index.js";
import { invalid } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import type { AnsweredRollout } from "./openaiAnswer.js";

/** A part of what is wanted, asked for at once: `count` rollouts of each of its prompts. */
export interface RequestPart {
  readonly prompts: Prompt[];
  readonly count: number;
  /** One per rollout, in order. */
  readonly streams: RandomStream[];
}

/**
 * Refuses what no server could be asked for.
 *
 * @throws FiresteelError ERR_SAMPLER, ERR_SHAPE
 */
export function checkRequest(
  { prompts, counts, streams, hook, stop }: SampleRequest,
  canStop: boolean,
): void {
  if (hook !== null) {
    throw new FiresteelError("ERR_SAMPLER", "Expected no hook: this sampler does not offer them");
  }
  if (stop.length > 0 && !canStop) {
    const message = "Expected no further stop tokens: only firesteel serve is known to heed them";
    throw new FiresteelError("ERR_SAMPLER", message);
  }
  if (counts.length !== prompts.length) {
    throw invalid("ERR_SHAPE", "counts", `one per prompt (${prompts.length})`, counts);
  }
  const total = counts.reduce((a, b) => a + b, 0);
  if (streams.length !== total) {
    throw invalid("ERR_SHAPE", "streams", `one per rollout (${total})`, streams);
  }
}

/**
 * A request's parts in the order of its rollouts.
 *
 * @param most rollouts of a part
 * @param together whether prompts of equal counts may share a part
 */
export function partsOf(
  { prompts, counts, streams }: SampleRequest,
  most: number,
  together: boolean,
): RequestPart[] {
  const parts: RequestPart[] = [];
  let begin = 0;
  for (const [i, prompt] of prompts.entries()) {
    const end = begin + counts[i]!;
    while (begin < end) {
      const count = Math.min(most, end - begin);
      const own = streams.slice(begin, begin + count);
      const last = together ? parts.at(-1) : undefined;
      if (last?.count === count && last.streams.length + count <= most) {
        last.prompts.push(prompt);
        last.streams.push(...own);
      } else {
        parts.push({ prompts: [prompt], count, streams: own });
      }
      begin += count;
    }
  }
  return parts;
}

/** The body of a completion request: by streams to a server of ours, else as vLLM understands it. */
export function completionBody(
  { temperature, greedy, stop, maxCompletionLength }: SampleRequest,
  { prompts, count, streams }: RequestPart,
  model: string,
  own: boolean,
): object {
  const ids = prompts.map(({ tokens }) => [...tokens]);
  const shared = {
    model,
    prompt: ids.length === 1 ? ids[0] : ids,
    n: count,
    max_tokens: maxCompletionLength,
    return_token_ids: true,
  };
  if (own) return { ...shared, temperature, greedy, stop_token_ids: stop, logprobs: 0, streams };
  // OpenAI's seeds are signed; most servers' are 32 bits wide.
  const seed = streams[0]![0] >>> 1;
  return { ...shared, temperature: greedy ? 0 : temperature, logprobs: 1, seed };
}

/** A rollout as a policy's `sample` would give it. */
export function trajectoryOf(
  id: number,
  { prompt, ids, logProb, text, finish }: AnsweredRollout,
  policyVersion: number,
): Trajectory {
  return {
    id,
    prompt,
    actions: { kind: "tokens", length: ids.length, ids },
    mask: new Uint8Array(ids.length).fill(1),
    columns: { samplerLogProb: { level: "action", values: logProb } },
    keys: { prompt: prompt.id },
    rewards: {},
    reward: null,
    text,
    finish,
    policyVersion,
    info: {},
  };
}
