import type { RunFacts } from "../../contract/block.js";
import type { Group } from "../../contract/data.js";
import type { QuestionForms } from "../../contract/forms.js";
import type { RolloutSettings, StepContext } from "../../contract/stage.js";
import { show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { naturalLanguage } from "../../forms/naturalLanguage.js";
import { choice, flag, integer, number, orNull } from "../../options/option.js";
import type { FinishedGroup, RecycleStepOptions } from "./recycleStep.js";

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

export function formsOf(
  { templates }: Pick<Values, "templates">,
  own: QuestionForms | null | undefined,
): QuestionForms {
  return templates === "english" ? naturalLanguage : (own ?? naturalLanguage);
}

/** Texts of all templates, for what must be known of them before a run. */
function textsOf({ pointwise, pairwise, reflectTrace, reflectAnswer }: QuestionForms): string[] {
  return [...pointwise, ...reflectTrace, ...reflectAnswer].map(({ text }) => text).concat(pairwise);
}

/** Refuses forms that the vocabulary has no symbols for. @throws FiresteelError ERR_OPTION */
export function inspectRecycling(block: string, values: Values, run: RunFacts): string[] {
  const forms = formsOf(values, run.forms);
  const { alphabet } = run;
  if (typeof alphabet === "string") {
    const symbols = textsOf(forms)
      .join("")
      .replace(/\{\w+\}/g, "");
    const foreign = [...symbols].find((symbol) => !alphabet.includes(symbol));
    if (foreign !== undefined) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected forms of judging and reflection in the symbols of the task (${show(alphabet)}) for ` +
          `${block} but its templates hold ${show(foreign)}`,
      );
    }
  }
  const notes: string[] = [];
  if (values.templates === "task" && run.forms === null) {
    notes.push(`The task has no forms of its own: ${block} asks in English`);
  }
  if (!run.binaryRewards) notes.push(`${block} takes answers with a reward above 0.5 as right`);
  return notes;
}

/** Rewarded rollouts as they are recycled; those without a reward are left out. */
export function finished(groups: readonly Group[], forms: QuestionForms): FinishedGroup[] {
  return groups.map(({ prompt, trajectories }) => {
    const judged = trajectories.filter(({ reward }) => reward !== null);
    const { tokens: _, ...question } = prompt;
    return {
      question,
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
