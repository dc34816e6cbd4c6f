import type { Prompt, Question, Tokenizer } from "../contract/data.js";
import type { StateStore } from "../contract/state.js";
import { permutation, uniformAt } from "./random.js";

const drawnKey = "prompts/drawn";

/**
 * The next `count` training prompts: the whole set in a new random order each epoch. How many were
 * drawn so far is the whole of the state.
 */
export function nextPrompts(
  train: readonly Prompt[],
  count: number,
  seed: number,
  state: StateStore,
): Prompt[] {
  const drawn = state.get(drawnKey, 0);
  state.set(drawnKey, drawn + count);
  const orders = new Map<number, number[]>();
  return Array.from({ length: count }, (_, i) => {
    const at = drawn + i;
    const epoch = Math.floor(at / train.length);
    let order = orders.get(epoch);
    if (order === undefined) {
      order = permutation(train.length, uniformAt(seed, "promptOrder", epoch));
      orders.set(epoch, order);
    }
    return train[order[at % train.length]!]!;
  });
}

const noTokens = new Int32Array(0);

/** A question as a policy reads it. Policies whose actions are not text get no tokens. */
export function tokenized(question: Question, tokenizer: Tokenizer | null): Prompt {
  if (tokenizer === null) return { ...question, tokens: noTokens };
  const text = question.messages.map(({ content }) => content).join("");
  return { ...question, tokens: tokenizer.encode(text) };
}
