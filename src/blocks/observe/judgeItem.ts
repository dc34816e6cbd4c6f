import {
  aFunction,
  aNumber,
  anInteger,
  aText,
  checkArguments,
  type Kind,
  listOf,
  optional,
  orNull,
  withFields,
} from "../../engine/arguments.js";
import { draw, drawIndex } from "../draw.js";

/** The rollouts of one prompt as a judge's question is made of them; one entry each. */
export interface AnsweredRollouts {
  /** 1 right, 0 wrong. */
  readonly rewards: readonly number[];
  /** The final answer; null where none could be extracted. */
  readonly answers: readonly (string | null)[];
}

/** What is put before a judge: positions in the group and in the list of templates. */
export type JudgeItem =
  | { kind: "pointwise"; rollout: number; right: boolean; template: number }
  | { kind: "pairwise"; right: number; wrong: number; rightIsA: boolean; template: number };

/** Which judging questions are made, and in what words. */
export interface JudgeItemOptions {
  /** Chance that a group with both outcomes is judged by a single answer; in [0, 1], default 0.3. */
  pSingle?: number;
  /** Lengths of the lists of templates; >= 1. */
  pointwiseTemplates: number;
  pairwiseTemplates: number;
}

/** As `AnsweredRollouts`, where a user hands it in. */
export const someAnswers: Kind = (value) => answered(value) ?? oneEach(value);

const answered = withFields({
  rewards: listOf(aNumber),
  answers: listOf(orNull(aText)),
});

function oneEach(value: unknown) {
  const { rewards, answers } = value as AnsweredRollouts;
  if (answers.length === rewards.length) return null;
  return { at: ".answers", expected: `${rewards.length} answers`, received: answers };
}

const judgeOptions = withFields({
  pSingle: optional(aNumber),
  pointwiseTemplates: anInteger(1),
  pairwiseTemplates: anInteger(1),
});

function positions(rewards: readonly number[], wanted: number): number[] {
  return rewards.flatMap((reward, i) => (reward === wanted ? [i] : []));
}

/**
 * At most one judge's question of a finished group (SPARK, arXiv 2509.22624; selection as released). All
 * right: the first answer. All wrong: one of the answers that could be extracted. Both: a single answer
 * with probability pSingle, whose verdict is drawn before it is; else a right and a wrong one.
 *
 * Draws in this order: whether single; then verdict, rollout, template, or right, wrong, order, template.
 * What is settled without chance is not drawn.
 *
 * @returns null where the group is empty or an answer that would be quoted is missing
 */
export function judgeItem(
  group: AnsweredRollouts,
  options: JudgeItemOptions,
  uniform: () => number,
): JudgeItem | null {
  checkArguments(
    { group, options, uniform },
    { group: someAnswers, options: judgeOptions, uniform: aFunction },
  );
  const { rewards, answers } = group;
  const { pSingle = 0.3, pointwiseTemplates, pairwiseTemplates } = options;
  const pick = (candidates: readonly number[]) =>
    candidates[drawIndex(candidates.length, uniform)]!;
  const pointwise = (rollout: number): JudgeItem | null => {
    if (answers[rollout] === null) return null;
    const right = rewards[rollout] === 1;
    return { kind: "pointwise", rollout, right, template: drawIndex(pointwiseTemplates, uniform) };
  };
  if (rewards.length === 0) return null;
  const right = positions(rewards, 1);
  const wrong = positions(rewards, 0);
  if (wrong.length === 0) return pointwise(0);
  if (right.length === 0) {
    const answered = wrong.filter((i) => answers[i] !== null);
    return answered.length === 0 ? null : pointwise(pick(answered));
  }
  if (draw(uniform) < pSingle) return pointwise(pick(drawIndex(2, uniform) === 1 ? right : wrong));
  const pair = { right: pick(right), wrong: pick(wrong), rightIsA: draw(uniform) < 0.5 };
  if (answers[pair.right] === null || answers[pair.wrong] === null) return null;
  return { kind: "pairwise", ...pair, template: drawIndex(pairwiseTemplates, uniform) };
}
