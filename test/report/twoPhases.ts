import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { Question, Task } from "../../src/contract/index.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import type { TrainOptions } from "../../src/train.js";
import { shortTask, small } from "../trainer/runs.js";

/** "Is a the answer of qqqq?", to be answered with y or n; the other kind asks which of two is. */
function judged(question: Question, i: number): Question {
  const asked = question.messages[0]!.content.replace("=", "");
  const right = question.label as string;
  const other = String((Number(right) + 1) % 4);
  const pairwise = i % 2 === 1;
  return {
    id: `${question.id}/judged`,
    messages: [
      { role: "user", content: pairwise ? `${asked}|${right}|${other}:` : `${asked}?${right}:` },
    ],
    label: pairwise ? "A" : "y",
    columns: {},
    kind: pairwise ? "pairwise" : "pointwise",
  };
}

/** Arithmetic whose second phase judges: every symbol at the end of a completion is an answer. */
export const judgedTask: Task = {
  ...shortTask,
  rewards: {
    correct: ({ completions, prompts }) =>
      completions.map((text, i) => (text.slice(-1) === prompts[i]!.label ? 1 : 0)),
  },
  evaluations: {
    "judge/pointwise_accuracy": shortTask.evaluation.map((question) => judged(question, 0)),
    "judge/pairwise_accuracy": shortTask.evaluation.map((question) => judged(question, 1)),
  },
};

const learning = {
  advantage: groupNormalize(),
  loss: [surrogate({ beta: 0.01, epsilon: 0.2 })],
};

/** GRPO twice a step: on the task's prompts, then on prompts that ask to judge. */
export const twoPhases = defineSystem({
  id: "two-phases",
  title: "Answering and judging",
  arxiv: null,
  evidence: "low",
  phases: [
    { name: "policy", ...learning },
    {
      name: "recycled",
      ...learning,
      source: {
        block: "judged",
        options: [],
        run: (_, ctx) =>
          ctx
            .prompts(ctx.settings.promptsPerStep)
            .map((prompt, i) => ctx.tokenize(judged(prompt, i))),
      },
    },
  ],
});

/** A run of milliseconds with two phases, three kinds of prompts and every usual metric. */
export const twoPhaseRun: TrainOptions = { ...small, system: twoPhases, task: judgedTask };
