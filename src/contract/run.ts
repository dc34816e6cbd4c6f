import type { Tokenizer } from "./data.js";
import type { Metrics } from "./metrics.js";
import type { PhaseOutcome, System } from "./system.js";
import type { Task } from "./task.js";

/** What those who look on know of a run from its beginning. */
export interface RunFrame {
  readonly system: System;
  readonly task: Task;
  /** Every setting with its value, by name. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** System and settings as text: every block with every option. */
  readonly printed: string;
  /** Of the policy; null where actions are not text. */
  readonly tokenizer: Tokenizer | null;
  readonly device: string;
  /** The run's folder; null: nothing is written. */
  readonly out: string | null;
  /** Whether an earlier sitting left a checkpoint, if only within the warm start. */
  readonly resumed: boolean;
  /** Steps done before this sitting; -1 where the run is new. Later ones are written again. */
  readonly resumedAt: number;
}

/** A step that is over. */
export interface StepReport {
  /** Counts from 1; 0 is the evaluation before the first step. */
  readonly step: number;
  readonly steps: number;
  readonly metrics: Metrics;
}

/** Progress of the supervised warm start: the step of all `steps`, the stage's name and its last loss. */
export interface WarmStartReport {
  readonly step: number;
  readonly steps: number;
  readonly stage: string;
  readonly loss: number;
}

/** A phase that is over, with the step that it belongs to (counted from 1). */
export interface PhaseReport extends PhaseOutcome {
  readonly step: number;
}

/**
 * Looks on at a run; the run waits for a promise that is returned, and fails where one throws. Everything in
 * the order in which it happened.
 */
export interface RunCallback {
  /** Before the first step, warm start included, of this sitting. */
  begin?(frame: RunFrame): unknown;
  /** Every 20 supervised steps, and after the last one. */
  warmStart?(report: WarmStartReport): unknown;
  /** After a phase's update: rewarded and trained rollouts with their columns. */
  phase?(report: PhaseReport): unknown;
  /** After a step, its evaluation included. Returning "stop" ends the run after this step's checkpoint. */
  step?(report: StepReport): unknown;
  /**
   * A checkpoint is about to be written: what was recorded of the steps so far must be on the disk when
   * this resolves, since the checkpoint counts on it.
   */
  saving?(report: { readonly step: number }): unknown;
  /** A whole checkpoint stands in `folder`. */
  checkpoint?(report: { readonly step: number; readonly folder: string }): unknown;
  /** The run is over, `error` says by what; called once, also where it failed. */
  end?(report: { readonly step: number; readonly error: unknown }): unknown;
}
