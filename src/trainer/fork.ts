import type { Column, Prompt, Tokenizer, Trajectory } from "../contract/data.js";
import { checkInteger } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { concatenate } from "../engine/ragged.js";

function tokensOf(trajectory: Trajectory): Int32Array {
  if (trajectory.actions.kind === "tokens") return trajectory.actions.ids;
  const message = `Expected actions of kind "tokens" to fork but received "${trajectory.actions.kind}"`;
  throw new FiresteelError("ERR_SAMPLER", message);
}

/** The prompt from which a rollout goes on after its first `at` actions. */
export function continuedPrompt(trajectory: Trajectory, at: number): Prompt {
  const ids = tokensOf(trajectory);
  checkInteger("at", at, 0, ids.length);
  const from = trajectory.sampledFrom ?? trajectory.prompt;
  return { ...from, tokens: concatenate(Int32Array, [from.tokens, ids.subarray(0, at)]) };
}

/** The whole rollout of a continuation: the first `at` actions of its parent, then its own. */
export function continued(
  parent: Trajectory,
  at: number,
  tail: Trajectory,
  tokenizer: Tokenizer | null,
): Trajectory {
  const head = tokensOf(parent).subarray(0, at);
  const ids = concatenate(Int32Array, [head, tokensOf(tail)]);
  const columns: Record<string, Column> = {};
  for (const [name, column] of Object.entries(tail.columns)) {
    const before = parent.columns[name];
    if (column.level !== "action" || before?.level !== "action") continue;
    const values = concatenate(Float32Array, [before.values.subarray(0, at), column.values]);
    columns[name] = { level: "action", values };
  }
  return {
    ...tail,
    prompt: parent.prompt,
    sampledFrom: parent.sampledFrom,
    actions: { kind: "tokens", length: ids.length, ids },
    mask: concatenate(Uint8Array, [parent.mask.subarray(0, at), tail.mask]),
    columns,
    keys: parent.keys,
    text: tokenizer?.decode(ids) ?? tail.text,
    parent: { trajectory: parent.id, at },
  };
}
