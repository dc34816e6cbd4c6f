import type { Prompt } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { Policy } from "../contract/policy.js";
import type { RunCallback } from "../contract/run.js";
import type { Sampler } from "../contract/sampler.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import { aborted, throwIfAborted } from "../engine/checks.js";
import type { Engine } from "../engine/engine.js";
import type { AdamW } from "../nn/optimizers/adamw.js";
import type { KnownFiles } from "./checkpoint.js";
import type { TrainSettings } from "./settings.js";
import type { MemoryStateStore } from "./stateStore.js";

/** How far a run has come; saved with every checkpoint. */
export interface Progress {
  /** Supervised steps done, over all stages. */
  warmStartStep: number;
  /** The warm start is over: optimisers are fresh and reference models stand. */
  begun: boolean;
  /** Steps done. */
  step: number;
  /** Optimiser steps done since the warm start. */
  updates: number;
  /** Prompt and completion tokens sampled for training. */
  tokens: number;
  /** Wall time of the warm start and of the steps, over all sittings. */
  seconds: number;
  /** The best evaluation so far, by bestMetric. */
  best: { step: number; value: number } | null;
  /** The last value that was enough of a gain, and evaluations since. */
  plateau: { value: number; evaluations: number } | null;
  /** Where a run went on with other settings than it began with. */
  forced: { step: number; differences: string[] }[];
  /** Of the evaluation before the first step. */
  start: Metrics;
  /** Of the last step. */
  metrics: Metrics;
}

export const noProgress: Progress = {
  warmStartStep: 0,
  begun: false,
  step: 0,
  updates: 0,
  tokens: 0,
  seconds: 0,
  best: null,
  plateau: null,
  forced: [],
  start: {},
  metrics: {},
};

/** What the step at hand has done is lost. @throws FiresteelError ERR_ABORTED */
export function checkAbort({ abort }: Pick<Run, "abort">): void {
  throwIfAborted(abort, "The step");
}

/** A model's files in a checkpoint's folder, and what they hold. */
export interface StoredModel {
  readonly folder: string;
  readonly files: KnownFiles;
}

/** All that a run is made of while it lasts. */
export interface Run {
  readonly engine: Engine;
  readonly system: System;
  readonly task: Task;
  readonly settings: TrainSettings;
  /** The task's prompts, as the policy reads them. */
  readonly train: readonly Prompt[];
  readonly evaluation: readonly Prompt[];
  readonly evaluations: Readonly<Record<string, readonly Prompt[]>>;
  /** "policy" and whatever the system names; "reference" where a loss reads it. */
  readonly models: Record<string, Policy>;
  /** Those of `models` that are the caller's. */
  readonly given: readonly string[];
  /** Of the model "policy"; other models sample by themselves. */
  readonly sampler: Sampler;
  /** By model that learns. */
  readonly optimizers: Record<string, AdamW>;
  /** By model that has not changed since: where its weights lie in a checkpoint. */
  readonly stored: Map<string, StoredModel>;
  readonly state: MemoryStateStore;
  readonly progress: Progress;
  readonly callbacks: readonly RunCallback[];
  /** The run's folder; null: nothing is written. */
  readonly out: string | null;
  /** Gives that folder free for other runs; null while it is not this one's. */
  unlock: (() => Promise<void>) | null;
  /** Ends the run after the step at hand, or at once; rewards may heed it within a step. */
  readonly signal: AbortSignal;
  /** Ends the run at once: what samples heeds it. */
  readonly abort: AbortSignal;
}

/**
 * What its sampler gives. One of somebody else's is not waited for after an abort; one whose weights are always
 * current is, since it uses the run's models.
 */
export function fromSampler<T>(
  run: Run,
  work: (sampler: Sampler, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const asked = async () => work(run.sampler, run.abort);
  return run.sampler.capabilities.has("currentWeights") ? asked() : unlessAborted(run, asked);
}

/** The run's weights are the sampler's from here on. */
export function refreshSampler(run: Run): Promise<void> {
  const { updates } = run.progress;
  return fromSampler(run, (sampler, signal) =>
    sampler.refresh(updates, run.models.policy!, signal),
  );
}

/** What `work` gives, unless the run is stopped at once: nobody waits for a reward that hangs. */
export async function unlessAborted<T>(
  { abort }: Pick<Run, "abort">,
  work: () => Promise<T>,
): Promise<T> {
  let leave = () => {};
  const left = new Promise<never>((_, reject) => {
    leave = () => reject(aborted(abort, "The step"));
    if (abort.aborted) leave();
    abort.addEventListener("abort", leave, { once: true });
  });
  try {
    return await Promise.race([left, work()]);
  } finally {
    abort.removeEventListener("abort", leave);
  }
}
