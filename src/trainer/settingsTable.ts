import {
  choice,
  flag,
  integer,
  integers,
  number,
  type Option,
  orNull,
  text,
} from "../options/option.js";

/**
 * Everything about a run besides its system and task; saved with every checkpoint. "The task's" are the
 * defaults that were measured for it. Names as in TRL and transformers where those have the same.
 */
export interface TrainSettings {
  /** Decides every random draw of the run: 0 (default) to 2^32 - 1. */
  seed: number;
  /** Steps of sampling and learning, >= 0; default the task's. */
  steps: number;
  /** Supervised steps of the task before the first rollout; default true for the policy "tiny". */
  warmStart: boolean;
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
  /**
   * Optimiser steps that the weights may be ahead of those that sampled a rollout, >= 0; null (default):
   * any number. What a sampler of its own weights should go with is a loss that corrects for it
   * (`mismatch` of surrogate); a run that has none warns.
   */
  maxStaleness: number | null;
  /** What becomes of older ones: an error (default), sampled again, or left out of their groups. */
  staleRollouts: "refuse" | "resample" | "drop";
  /** Rollouts per optimiser step, >= 1; default the task's. */
  minibatchSize: number;
  /**
   * Rollouts that go through the network at once, >= 1, default 256. Gradients are those of the whole
   * minibatch, whatever it is cut into: minibatchSize / microBatchSize is what TRL calls
   * gradientAccumulationSteps, microBatchSize its perDeviceTrainBatchSize.
   */
  microBatchSize: number;
  /** Passes over the rollouts of a step with the old log-probs fixed, >= 1; default the task's. */
  numIterations: number;
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
  /** Whether the reference policy follows the policy; default false: it stays as at the first step. */
  syncRefModel: boolean;
  /** reference = alpha * policy + (1 - alpha) * reference; above 0, 1 is a copy; default 0.6. */
  refModelMixupAlpha: number;
  /** Steps of the run (TRL: updates) between two such moves, >= 1, default 512. */
  refModelSyncSteps: number;
  /** Of AdamW, at its highest; >= 0, default the task's. */
  learningRate: number;
  /** Its course after the warm-up, which ends with the run; default "constant". See `learningRate`. */
  lrSchedulerType: "constant" | "linear" | "cosine";
  /** Share of learningRate at which a falling course ends, 0 (default) to 1. */
  lrMinRatio: number;
  /** Share of the run in which the rate rises from 0, 0 (default) to 1. */
  warmupRatio: number;
  /** The same in steps of the run, >= 0, default 0; instead of warmupRatio. */
  warmupSteps: number;
  /** What the course is laid over; "policy-updates": as in the official SPARK script. Default "run". */
  lrSchedulerLength: "run" | "policy-updates";
  /** Steps between evaluations, >= 1, default 10; null: only at the start and the end. */
  evalSteps: number | null;
  /** Rollouts per held-out prompt, at T = 1; >= 1, default the task's. */
  evalSamples: number;
  /** Also the share of right answers where the most probable action is taken; default false. */
  evalGreedy: boolean;
  /** k of eval/pass@k, each 1 to evalSamples; default none. */
  evalPassAtK: readonly number[];
  /** k of eval/maj@k, each 1 to evalSamples; default none. */
  evalMajAtK: readonly number[];
  /** Of an evaluation: what keepBest and the early stop go by; default "eval/accuracy". */
  bestMetric: string;
  /** Whether larger values of bestMetric are better; default true. */
  greaterIsBetter: boolean;
  /** Ends the run after so many evaluations without a gain in bestMetric, >= 1; null (default): never. */
  earlyStopPatience: number | null;
  /** A smaller gain over the value before the wait is none, >= 0, default 0. */
  earlyStopMinDelta: number;
  /** Ends the run once bestMetric is there; null (default): never. */
  earlyStopTarget: number | null;
  /** Steps between checkpoints, >= 1, default 1; the last step always has one. */
  saveSteps: number;
  /** How many of the newest checkpoints stay, >= 1, default 1; transformers' save_total_limit. */
  keepCheckpoints: number;
  /** The best checkpoint by bestMetric stays too, and OUT/best links to it; default false. */
  keepBest: boolean;
}

/** Where a default is the task's, which replaces it. */
const measured = Number.NaN;
const count = { min: 1 };
const share = { min: 0, max: 1 };

/** Every setting, by what it is about. */
export const settingGroups = {
  run: {
    seed: integer(0, { min: 0, max: 2 ** 32 - 1 }, "decides every random draw of the run"),
    steps: integer(measured, { min: 0 }, "steps of sampling and learning"),
    warmStart: flag(true, "supervised steps of the task before the first rollout"),
  },
  rollouts: {
    promptsPerStep: integer(measured, count, "prompts per step"),
    numGenerations: integer(measured, count, "rollouts per prompt"),
    temperature: number(measured, { above: 0 }, "divides the logits, in sampling and loss"),
    maxCompletionLength: integer(measured, count, "actions of a rollout at most"),
    longPrompts: choice(
      "refuse",
      ["refuse", "drop"],
      "what becomes of prompts that leave no room for an answer",
    ),
    maxStaleness: orNull(
      integer,
      null,
      { min: 0 },
      "optimiser steps since a rollout's weights; null: any",
    ),
    staleRollouts: choice(
      "refuse",
      ["refuse", "resample", "drop"],
      "what becomes of rollouts that are older",
    ),
  },
  updates: {
    minibatchSize: integer(measured, count, "rollouts per optimiser step"),
    microBatchSize: integer(256, count, "rollouts in the network at once; changes no result"),
    numIterations: integer(measured, count, "passes over the rollouts of a step"),
    adamBeta1: number(0.9, { min: 0, below: 1 }, "decay of AdamW's first moment"),
    adamBeta2: number(0.95, { min: 0, below: 1 }, "decay of AdamW's second moment"),
    adamEpsilon: number(1e-8, { above: 0 }, "added to AdamW's denominator"),
    weightDecay: number(0, { min: 0 }, "decoupled, of AdamW"),
    maxGradNorm: orNull(
      number,
      measured,
      { above: 0 },
      "gradients are scaled down to it; null: never",
    ),
  },
  "learning rate": {
    learningRate: number(measured, { min: 0 }, "of AdamW, at its highest"),
    lrSchedulerType: choice(
      "constant",
      ["constant", "linear", "cosine"],
      "its course after the warm-up, to the end of the run",
    ),
    lrMinRatio: number(0, share, "share of learningRate at which the course ends"),
    warmupRatio: number(0, share, "share of the run in which it rises from 0"),
    warmupSteps: integer(0, { min: 0 }, "the same in steps of the run, instead of warmupRatio"),
    lrSchedulerLength: choice(
      "run",
      ["run", "policy-updates"],
      'what the course is laid over; "policy-updates": as the SPARK script does',
    ),
  },
  "reference policy": {
    syncRefModel: flag(false, "whether it follows the policy; false: frozen"),
    refModelMixupAlpha: number(0.6, { above: 0, max: 1 }, "the policy's share; 1: a copy"),
    refModelSyncSteps: integer(512, count, "steps between two moves"),
  },
  evaluation: {
    evalSteps: orNull(integer, 10, count, "steps between evaluations; null: at start and end"),
    evalSamples: integer(measured, count, "rollouts per held-out prompt, at T = 1"),
    evalGreedy: flag(false, "also greedy answers: eval/greedy_accuracy"),
    evalPassAtK: integers(count, "k of eval/pass@k: one of k answers is right"),
    evalMajAtK: integers(count, "k of eval/maj@k: the most frequent of k answers is right"),
  },
  "early stop": {
    bestMetric: text("eval/accuracy", "what keepBest and the early stop go by"),
    greaterIsBetter: flag(true, "whether larger values of bestMetric are better"),
    earlyStopPatience: orNull(integer, null, count, "evaluations without a gain; null: any number"),
    earlyStopMinDelta: number(0, { min: 0 }, "a smaller gain is none"),
    earlyStopTarget: orNull(number, null, {}, "value at which the run ends; null: none"),
  },
  checkpoints: {
    saveSteps: integer(1, count, "steps between checkpoints"),
    keepCheckpoints: integer(1, count, "how many of the newest stay"),
    keepBest: flag(false, "the best by bestMetric stays too, linked to as OUT/best"),
  },
} satisfies Record<string, { [K in keyof TrainSettings]?: Option<TrainSettings[K]> }>;
