import type { Prompt } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { Policy } from "../contract/policy.js";
import type { RunCallback } from "../contract/run.js";
import type { Sampler } from "../contract/sampler.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import type { Engine } from "../engine/engine.js";
import type { AdamW } from "../nn/optimizers/adamw.js";
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
  start: {},
  metrics: {},
};

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
  readonly state: MemoryStateStore;
  readonly progress: Progress;
  readonly callbacks: readonly RunCallback[];
  readonly signal: AbortSignal;
}
