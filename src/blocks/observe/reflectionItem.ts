import { aFunction, aNumber, checkArguments } from "../../engine/arguments.js";
import { drawIndex } from "../draw.js";
import { type AnsweredRollouts, someAnswers } from "./judgeItem.js";

/** A failed attempt to be quoted: its position in the group, and what of it. */
export interface ReflectionItem {
  kind: "reflectTrace" | "reflectAnswer";
  rollout: number;
}

/**
 * At most one failed attempt of a group to reflect on (SPARK, arXiv 2509.22624; selection as released):
 * in the first half of a batch by its whole trace, in the second by its final answer, which must have
 * been extractable. One draw.
 *
 * @param position of the prompt in its batch, from 0
 * @param prompts number of prompts in the batch
 * @returns null where no attempt failed, or none with an answer
 */
export function reflectionItem(
  group: AnsweredRollouts,
  position: number,
  prompts: number,
  uniform: () => number,
): ReflectionItem | null {
  checkArguments(
    { group, position, prompts, uniform },
    { group: someAnswers, position: aNumber, prompts: aNumber, uniform: aFunction },
  );
  const { rewards, answers } = group;
  const kind = position < prompts / 2 ? "reflectTrace" : "reflectAnswer";
  const failed = rewards.flatMap((reward, i) =>
    reward === 0 && (kind === "reflectTrace" || answers[i] !== null) ? [i] : [],
  );
  if (failed.length === 0) return null;
  return { kind, rollout: failed[drawIndex(failed.length, uniform)]! };
}
