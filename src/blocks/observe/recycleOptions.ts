import type { RunFacts } from "../../contract/block.js";
import type { Group, Question } from "../../contract/data.js";
import type { QuestionForms } from "../../contract/forms.js";
import type { RolloutSettings, StepContext } from "../../contract/stage.js";
import { show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { isStateValue } from "../../engine/stateValue.js";
import { naturalLanguage } from "../../forms/naturalLanguage.js";
import { choice, flag, integer, number, orNull } from "../../options/option.js";
import type { FinishedGroup, FormsOf, RecycleStepOptions } from "./recycleStep.js";

/** What of rollouts is recycled, by whichever block does it. */
export interface RecyclingOptions {
  /** Judge's questions of a policy batch at most, >= 0; null (default): half of the run's promptsPerStep. */
  capJudge?: number | null;
  /** Reflection questions of a policy batch at most, >= 0; null (default): half of promptsPerStep. */
  capReflect?: number | null;
  /** Chance that a group with both outcomes is judged by a single answer, in [0, 1]; default 0.3. */
  pSingle?: number;
  /** "task" (default): the task's own forms, in English where it has none; "english": always so. */
  templates?: "task" | "english";
  /** Whether as many pointwise questions are of right answers as of wrong ones; default false. */
  balanced?: boolean;
}

const cap = (what: string) =>
  orNull(integer, null, { min: 0 }, `${what} of a batch at most; null: half of promptsPerStep`);

export const recyclingShape = {
  capJudge: cap("judge's questions"),
  capReflect: cap("reflection questions"),
  pSingle: number(0.3, { min: 0, max: 1 }, "chance of a single answer where a group has both"),
  templates: choice("task", ["task", "english"], "the task's forms (else English), or English"),
  balanced: flag(false, "as many pointwise questions of right answers as of wrong ones"),
};

type Values = Required<RecyclingOptions>;

/** Caps as numbers. 1:1 with the policy's batch, as 32 + 32 with 64 in the paper's code. */
export function settled(values: Values, { promptsPerStep }: RolloutSettings): RecycleStepOptions {
  const half = Math.ceil(promptsPerStep / 2);
  const { pSingle, balanced, capJudge, capReflect } = values;
  return { pSingle, balanced, capJudge: capJudge ?? half, capReflect: capReflect ?? half };
}

/** The forms of a question: those of its own task, where several are mixed. */
export function formsOf(
  { templates }: Pick<Values, "templates">,
  { forms, formsByTask }: Partial<Pick<StepContext, "forms" | "formsByTask">>,
): FormsOf {
  if (templates === "english") return () => naturalLanguage;
  if (formsByTask === undefined) return () => forms ?? naturalLanguage;
  return ({ task }) => formsByTask[task ?? ""] ?? naturalLanguage;
}

/** The tasks that have no forms of their own, as a note calls them. */
function formless({ forms, formsByTask }: RunFacts): string[] {
  if (formsByTask === undefined) return forms === null ? ["The task"] : [];
  const names = Object.keys(formsByTask).filter((task) => formsByTask[task] === null);
  return names.map((task) => `Task ${show(task)}`);
}

function allForms(values: Pick<Values, "templates">, run: RunFacts): QuestionForms[] {
  if (values.templates === "english") return [naturalLanguage];
  const own = run.formsByTask === undefined ? [run.forms] : Object.values(run.formsByTask);
  return [...new Set(own.map((forms) => forms ?? naturalLanguage))];
}

/** Texts of all templates, for what must be known of them before a run. */
function textsOf({ pointwise, pairwise, reflectTrace, reflectAnswer }: QuestionForms): string[] {
  return [...pointwise, ...reflectTrace, ...reflectAnswer].map(({ text }) => text).concat(pairwise);
}

/** Refuses forms that the policy has no tokens for. @throws FiresteelError ERR_OPTION */
export function inspectRecycling(
  block: string,
  values: Pick<Values, "templates">,
  run: RunFacts,
): string[] {
  const { reads } = run;
  const unreadable = allForms(values, run)
    .flatMap(textsOf)
    .map((text) => text.replace(/\{\w+\}/g, ""))
    .find((text) => reads?.(text) === false);
  if (unreadable !== undefined) {
    const symbol = [...unreadable].find((one) => reads?.(one) === false) ?? unreadable;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected forms of judging and reflection that the policy can read for ${block} but it has no ` +
        `token for ${show(symbol)} (a task with forms of its own, or a policy that reads English, has)`,
    );
  }
  const notes = values.templates === "task" ? formless(run) : [];
  const english = notes.map((who) => `${who} has no forms of its own: ${block} asks in English`);
  if (run.binaryRewards) return english;
  return [...english, `${block} takes answers with a reward above 0.5 as right`];
}

/** Columns that a checkpoint can hold: the others stay behind, whether the run is resumed or not. */
function storable(columns: Question["columns"]): Question["columns"] {
  return Object.fromEntries(
    Object.entries(columns).filter(([name, value]) => isStateValue({ [name]: value })),
  );
}

/** Rewarded rollouts as they are recycled; those without a reward are left out. */
export function finished(groups: readonly Group[], formsOf: FormsOf): FinishedGroup[] {
  return groups.map(({ prompt, trajectories }) => {
    const judged = trajectories.filter(({ reward }) => reward !== null);
    const { tokens: _, ...question } = prompt;
    const forms = formsOf(question);
    return {
      question: { ...question, columns: storable(question.columns) },
      rewards: judged.map(({ reward }) => (reward! > 0.5 ? 1 : 0)),
      answers: judged.map(({ text }) => forms.answer(text, prompt.kind)),
      traces: judged.map(({ text }) => text),
    };
  });
}

/** Prompt and completion must fit the policy's context. */
export function fits(ctx: StepContext): (question: FinishedGroup["question"]) => boolean {
  const room = ctx.models.policy!.maxLength - ctx.settings.maxCompletionLength;
  return (question) => ctx.tokenize(question).tokens.length <= room;
}
