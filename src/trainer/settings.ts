import type { DescribedOption, Scheduled } from "../contract/block.js";
import type { Task } from "../contract/task.js";
import { choice, flag, integer, number, orNull, scheduled } from "../options/option.js";
import { parseOptions } from "../options/parseOptions.js";
import { optionLines } from "./printSystem.js";

/**
 * Everything about a run besides its system and task; saved with every checkpoint. "The task's" are the
 * defaults that were measured for it.
 */
export interface TrainSettings {
  /** Decides every random draw of the run: 0 (default) to 2^32 - 1. */
  seed: number;
  /** Steps of sampling and learning, >= 0; default the task's. */
  steps: number;
  /** Prompts per step, >= 1; default the task's. */
  promptsPerStep: number;
  /** Rollouts per prompt, >= 1; default the task's. */
  numGenerations: number;
  /** Divides the logits, in sampling and loss alike; > 0, default the task's. */
  temperature: number;
  /** Actions of a rollout at most, >= 1; default the task's. */
  maxCompletionLength: number;
  /** What becomes of prompts that leave no room for an answer: "refuse" (default) or "drop". */
  longPrompts: "refuse" | "drop";
  /** Rollouts per optimiser step, >= 1; default the task's. */
  minibatchSize: number;
  /** Rollouts in memory at once, >= 1, default 256; changes no result. */
  microBatchSize: number;
  /** Passes over the rollouts of a step with the old log-probs fixed, >= 1; default the task's. */
  numIterations: number;
  /** Of AdamW, >= 0; default the task's. */
  learningRate: Scheduled;
  /** Decay of AdamW's first moment, in [0, 1); default 0.9. */
  adamBeta1: number;
  /** Decay of AdamW's second moment, in [0, 1); default 0.95. */
  adamBeta2: number;
  /** Added to AdamW's denominator, > 0; default 1e-8. */
  adamEpsilon: number;
  /** Decoupled, of weights with two or more dimensions; >= 0, default 0. */
  weightDecay: number;
  /** Gradients are scaled down to this global norm, > 0; null: never. Default the task's. */
  maxGradNorm: number | null;
  /** Supervised steps of the task before the first rollout; default true for the policy "tiny". */
  warmStart: boolean;
  /** Steps between evaluations, >= 1, default 10; null: only at the start and the end. */
  evalSteps: number | null;
  /** Rollouts per held-out prompt, at T = 1; >= 1, default the task's. */
  evalSamples: number;
  /** Steps between checkpoints, >= 1, default 1; the last step always has one. */
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
    longPrompts: choice(
      "refuse",
      ["refuse", "drop"],
      "what becomes of prompts that leave no room for an answer",
    ),
    minibatchSize: integer(measured.minibatchSize, count, "rollouts per optimiser step"),
    microBatchSize: integer(256, count, "rollouts in memory at once; changes no result"),
    numIterations: integer(measured.numIterations, count, "passes over the rollouts of a step"),
    learningRate: scheduled(measured.learningRate, { min: 0 }, "of AdamW"),
    adamBeta1: number(0.9, { min: 0, below: 1 }, "decay of AdamW's first moment"),
    adamBeta2: number(0.95, { min: 0, below: 1 }, "decay of AdamW's second moment"),
    adamEpsilon: number(1e-8, { above: 0 }, "added to AdamW's denominator"),
    weightDecay: number(0, { min: 0 }, "decoupled, of AdamW"),
    maxGradNorm: orNull(
      number,
      measured.maxGradNorm,
      { above: 0 },
      "gradients are scaled down to this norm; null: never",
    ),
    warmStart: flag(true, "supervised steps of the task before the first rollout"),
    evalSteps: orNull(
      integer,
      10,
      count,
      "steps between evaluations; null: only at the start and the end",
    ),
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
  longPrompts: true,
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
