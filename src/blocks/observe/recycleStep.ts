import type { Question } from "../../contract/data.js";
import type { QuestionForms } from "../../contract/forms.js";
import {
  aFlag,
  aFunction,
  aNumber,
  anInteger,
  anything,
  aText,
  checkArguments,
  either,
  type Kind,
  listOf,
  orNull,
  withFields,
} from "../../engine/arguments.js";
import { aQuestion, someForms } from "../../engine/contractKinds.js";
import { pairwiseQuestion, pointwiseQuestion, reflectionQuestion } from "../../forms/questions.js";
import { drawIndex } from "../draw.js";
import { type AnsweredRollouts, judgeItem, someAnswers } from "./judgeItem.js";
import { reflectionItem } from "./reflectionItem.js";

/** A prompt with its finished rollouts. */
export interface FinishedGroup extends AnsweredRollouts {
  readonly question: Question;
  /** Whole completions. */
  readonly traces: readonly string[];
}

/** The forms in which a question is quoted. */
export type FormsOf = (question: Question) => QuestionForms;

/** How many questions of each kind a step's rollouts become. */
export interface RecycleStepOptions {
  /** Chance that a mixed group is judged by a single answer; in [0, 1]. */
  pSingle: number;
  /** Judge's questions of a step at most; >= 0. */
  capJudge: number;
  /** Reflection questions of a step at most; >= 0. */
  capReflect: number;
  /** Whether as many pointwise questions are kept of right answers as of wrong ones. */
  balanced: boolean;
}

const aFinishedGroup: Kind = (value) =>
  someAnswers(value) ?? withFields({ question: aQuestion, traces: listOf(aText) })(value);

const recycleOptions = withFields({
  pSingle: aNumber,
  capJudge: aNumber,
  capReflect: aNumber,
  balanced: aFlag,
});

/** `count` of the items, drawn without replacement, in their order; all where there are no more. */
export function subsample<T>(items: readonly T[], count: number, uniform: () => number): T[] {
  checkArguments(
    { items, count, uniform },
    { items: listOf(anything), count: anInteger(0, Number.MAX_SAFE_INTEGER), uniform: aFunction },
  );
  if (items.length <= count) return [...items];
  const left = items.map((_, i) => i);
  const drawn = new Set<number>();
  for (let n = 0; n < count; ++n) {
    drawn.add(left.splice(drawIndex(left.length, uniform), 1)[0]!);
  }
  return items.filter((_, i) => drawn.has(i));
}

interface JudgeQuestion {
  readonly question: Question;
  /** null: pairwise. */
  readonly right: boolean | null;
}

/** Leaves out pointwise questions of the more frequent verdict until both are as frequent. */
export function balanceVerdicts<T extends { readonly right: boolean | null }>(
  items: readonly T[],
  uniform: () => number,
): T[] {
  checkArguments(
    { items, uniform },
    { items: listOf(withFields({ right: orNull(aFlag) })), uniform: aFunction },
  );
  const of = (right: boolean) => items.filter((item) => item.right === right);
  const count = Math.min(of(true).length, of(false).length);
  const kept = new Set([true, false].flatMap((right) => subsample(of(right), count, uniform)));
  return items.filter((item) => item.right === null || kept.has(item));
}

function judgeQuestion(
  group: FinishedGroup,
  forms: QuestionForms,
  pSingle: number,
  uniform: () => number,
): JudgeQuestion[] {
  checkArguments({ forms }, { forms: someForms });
  const options = {
    pSingle,
    pointwiseTemplates: forms.pointwise.length,
    pairwiseTemplates: forms.pairwise.length,
  };
  const item = judgeItem(group, options, uniform);
  if (item === null) return [];
  const { question, answers } = group;
  if (item.kind === "pointwise") {
    const { right, template } = item;
    const quoted = { answer: answers[item.rollout]!, right };
    return [{ question: pointwiseQuestion(forms, question, template, quoted), right }];
  }
  const { rightIsA, template } = item;
  const quoted = { right: answers[item.right]!, wrong: answers[item.wrong]!, rightIsA };
  return [{ question: pairwiseQuestion(forms, question, template, quoted), right: null }];
}

/**
 * New prompts with known labels from the finished rollouts of a batch: at most one judge's question and
 * one reflection a prompt, each kind cut down to its cap at random, judge's questions first (SPARK, arXiv
 * 2509.22624, section 3; selection as released).
 *
 * @param forms of all questions, or of each
 */
export function recycleStep(
  groups: readonly FinishedGroup[],
  forms: QuestionForms | FormsOf,
  options: RecycleStepOptions,
  uniform: () => number,
): Question[] {
  checkArguments(
    { groups, forms, options, uniform },
    {
      groups: listOf(aFinishedGroup),
      forms: either(aFunction, someForms),
      options: recycleOptions,
      uniform: aFunction,
    },
  );
  const { pSingle, capJudge, capReflect, balanced } = options;
  const formsOf = typeof forms === "function" ? forms : () => forms;
  const judge = groups.flatMap((group) =>
    judgeQuestion(group, formsOf(group.question), pSingle, uniform),
  );
  const reflections = groups.flatMap((group, position) => {
    const item = reflectionItem(group, position, groups.length, uniform);
    if (item === null) return [];
    const { kind, rollout } = item;
    const attempt =
      kind === "reflectTrace"
        ? { trace: group.traces[rollout]! }
        : { answer: group.answers[rollout]! };
    const own = formsOf(group.question);
    const template = drawIndex(own[kind].length, uniform);
    return [reflectionQuestion(own, group.question, template, attempt)];
  });
  const even = (items: readonly JudgeQuestion[]) =>
    balanced ? balanceVerdicts(items, uniform) : items;
  // The cap may undo the balance: it is restored within the cap.
  const judged = even(subsample(even(judge), capJudge, uniform));
  return [
    ...judged.map(({ question }) => question),
    ...subsample(reflections, capReflect, uniform),
  ];
}
