import type { DescribedOption, Scheduled } from "../contract/block.js";
import type { Task } from "../contract/task.js";
import { flag, integer, number, orNull, scheduled } from "../engine/options.js";
import { parseOptions } from "../engine/parseOptions.js";
import { optionLines } from "./printSystem.js";

/** Everything about a run besides its system and task; saved with every checkpoint. */
export interface TrainSettings {
  seed: number;
  steps: number;
  promptsPerStep: number;
  numGenerations: number;
  temperature: number;
  maxCompletionLength: number;
  minibatchSize: number;
  microBatchSize: number;
  numIterations: number;
  learningRate: Scheduled;
  adamBeta1: number;
  adamBeta2: number;
  adamEpsilon: number;
  weightDecay: number;
  maxGradNorm: number | null;
  warmStart: boolean;
  evalSteps: number | null;
  evalSamples: number;
  saveSteps: number;
}

function shapeFor({ settings: measured }: Task) {
  const count = { min: 1 };
  return {
    seed: integer(0, { min: 0, max: 2 ** 32 - 1 }, "decides every random draw of the run"),
    steps: integer(measured.steps, { min: 0 }, "steps of sampling and learning"),
    promptsPerStep: integer(measured.promptsPerStep, count, "prompts per step"),
    numGenerations: integer(measured.numGenerations, count, "rollouts per prompt"),
    temperature: number(
      measured.temperature,
      { above: 0 },
      "divides the logits, in sampling and loss",
    ),
    maxCompletionLength: integer(
      measured.maxCompletionLength,
      count,
      "actions of a rollout at most",
    ),
    minibatchSize: integer(measured.minibatchSize, count, "rollouts per optimiser step"),
    microBatchSize: integer(256, count, "rollouts in memory at once; changes no result"),
    numIterations: integer(measured.numIterations, count, "passes over the rollouts of a step"),
    learningRate: scheduled(measured.learningRate, { min: 0 }, "of AdamW"),
    adamBeta1: number(0.9, { min: 0, max: 1 }, "decay of AdamW's first moment"),
    adamBeta2: number(0.95, { min: 0, max: 1 }, "decay of AdamW's second moment"),
    adamEpsilon: number(1e-8, { min: 0 }, "added to AdamW's denominator"),
    weightDecay: number(0, { min: 0 }, "decoupled, of AdamW"),
    maxGradNorm: {
      ...orNull(number(1, { above: 0 }, "gradients are scaled down to this norm; null: never")),
      default: measured.maxGradNorm as number | null,
    },
    warmStart: flag(true, "supervised steps of the task before the first rollout"),
    evalSteps: {
      ...orNull(
        integer(10, count, "steps between evaluations; null: only at the start and the end"),
      ),
      default: 10 as number | null,
    },
    evalSamples: integer(measured.evalSamples, count, "rollouts per held-out prompt, at T = 1"),
    saveSteps: integer(1, count, "steps between checkpoints"),
  };
}

/**
 * The settings of a run: what is given, else what was measured for the task.
 *
 * @throws FiresteelError ERR_OPTION
 */
export function trainSettings(
  task: Task,
  given: Partial<TrainSettings>,
): { settings: TrainSettings; described: DescribedOption[] } {
  const { values, described } = parseOptions("train", shapeFor(task), given);
  return { settings: values, described };
}

/** The names of all settings. */
export const settingNames = Object.keys({
  seed: true,
  steps: true,
  promptsPerStep: true,
  numGenerations: true,
  temperature: true,
  maxCompletionLength: true,
  minibatchSize: true,
  microBatchSize: true,
  numIterations: true,
  learningRate: true,
  adamBeta1: true,
  adamBeta2: true,
  adamEpsilon: true,
  weightDecay: true,
  maxGradNorm: true,
  warmStart: true,
  evalSteps: true,
  evalSamples: true,
  saveSteps: true,
} satisfies Record<keyof TrainSettings, true>);

/** Every setting with its value, as text. */
export function printSettings(task: Task, settings: TrainSettings): string {
  const { described } = trainSettings(task, settings);
  return ["", `settings (task ${task.id})`, ...optionLines(described)].join("\n").concat("\n");
}
