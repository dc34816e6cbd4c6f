import type { StepReport } from "../contract/run.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import type { TrainSettings } from "../trainer/settings.js";
import type { Comparison } from "./compare.js";

/** One run of one arm, from the evaluation before the first step (step 0) to the last. */
export interface ArmRun {
  readonly seed: number;
  /** Wall time of its steps and evaluations. */
  readonly seconds: number;
  readonly steps: readonly Pick<StepReport, "step" | "metrics">[];
}

/** One number of a run, by which arms are compared. */
export interface Measure {
  /** For people, e.g. "eval/accuracy at the end". */
  readonly name: string;
  readonly better: "higher" | "lower";
  /** null where the run does not have it. */
  readonly of: (run: ArmRun) => number | null;
}

/** Something that is trained: a system with its settings, from the warm start that all arms share. */
export interface Arm {
  /** For people; also what a judge calls it by. */
  readonly name: string;
  readonly system: string | System;
  /** Beside the claim's. */
  readonly settings?: Partial<TrainSettings>;
}

/** The runs of every arm, in the order of the seeds. */
export interface Results {
  /** @throws FiresteelError ERR_OPTION for an arm that the claim does not have */
  values(arm: string, measure: Measure): (number | null)[];
}

/**
 * What was compared; the claim is shown where every comparison is. Asked once before the first run too, with
 * no values, so that a misspelt arm costs nothing.
 */
export type Judge = (results: Results) => readonly Comparison[];

/**
 * What a paper says, what it is held against, and what must be seen for it to count as shown. Everything
 * is settled before the first run: nothing here can be chosen by the result.
 *
 * @example
 * const accuracy = atEnd("eval/accuracy");
 * const claim: Claim = {
 *   id: "dapo",
 *   claim: "DAPO ends with a higher held-out accuracy than GRPO",
 *   baseline: "GRPO with the same prompts and optimiser steps",
 *   arms: [{ name: "dapo", system: "dapo" }, { name: "grpo", system: "grpo" }],
 *   measure: accuracy,
 *   judge: exceeds({ arm: "dapo", baselines: ["grpo"], measure: accuracy, by: 0 }),
 * };
 */
export interface Claim {
  readonly id: string;
  /** A sentence. */
  readonly claim: string;
  /** A sentence: what the claim is held against, and what is equal. */
  readonly baseline: string;
  /** Default: that of the first arm's system. */
  readonly task?: string | Task;
  /** Of every arm; what is left out is the task's. */
  readonly settings?: Partial<TrainSettings>;
  /** The first one is what the claim is about. */
  readonly arms: readonly [Arm, ...Arm[]];
  readonly measure: Measure;
  /** Reported beside it, for every arm, as they come. */
  readonly reported?: readonly Measure[];
  readonly judge: Judge;
}
