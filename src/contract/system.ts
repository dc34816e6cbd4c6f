import type { Block, StageBlock } from "./block.js";
import type { Actions, Group, Prompt, Trajectory } from "./data.js";
import type { LossTerm } from "./loss.js";
import type { Metrics } from "./metrics.js";
import type { InferenceContext } from "./stage.js";

/** Prompts of a phase; none means that the phase is left out this step. */
export type Source = StageBlock<void, Prompt[]>;
/** Prompts to groups; it may reward, re-prompt and sample again. */
export type RolloutPlan = StageBlock<readonly Prompt[], Group[]>;
/**
 * Looks at rollouts before they are rewarded: scores them under other prompts or models and keeps that as
 * columns.
 */
export type Probe = StageBlock<readonly Group[], Group[]>;
/** Gives every rollout its rewards by name, and their weighted sum. */
export type RewardPlan = StageBlock<readonly Trajectory[], Trajectory[]>;
/** Groups, before statistics; it may refill the batch. */
export type GroupFilter = StageBlock<readonly Group[], Group[]>;
/** Turns rewards into the column `advantage`, by comparison within groups or otherwise. */
export type Advantage = StageBlock<readonly Group[], Group[]>;
/** Changes advantages after they are made: clamps, whitens, spreads them over actions. */
export type Credit = StageBlock<readonly Group[], Group[]>;
/** When one training row is not one trajectory: tree edges, dialogue turns. */
export type RowPlan = StageBlock<readonly Group[], Group[]>;
/** Rows, after statistics. */
export type RowFilter = StageBlock<readonly Group[], Group[]>;
/** Gives rows or actions a weight in the loss, as the column `weight`. */
export type Weighting = StageBlock<readonly Group[], Group[]>;
/** What the next step will know: buffers, dual variables, controllers, curricula. */
export type Observer = StageBlock<PhaseOutcome, void>;

/** What a phase came to, for observers and callbacks. */
export interface PhaseOutcome {
  readonly phase: string;
  /** As rewarded, before any filter. */
  readonly groups: readonly Group[];
  /** As trained. */
  readonly trained: readonly Group[];
  readonly metrics: Metrics;
}

/** How a phase's rows become optimiser steps; what is left out comes from the run's settings. */
export interface UpdatePlan {
  /** Rollouts per optimiser step. */
  readonly minibatchSize?: number;
  /** Passes over the rollouts with the old log-probs fixed. */
  readonly numIterations?: number;
}

/**
 * One pass from prompts to an update. The steps are taken in the order of these fields; `defineSystem`
 * fills in the plain choice for what is left out.
 */
export interface Phase {
  readonly name: string;
  /** Which model learns. */
  readonly model: string;
  /** null: the task's training prompts. */
  readonly source: Source | null;
  readonly rollout: RolloutPlan;
  readonly probe: readonly Probe[];
  readonly reward: RewardPlan;
  readonly filter: readonly GroupFilter[];
  readonly advantage: Advantage | null;
  readonly credit: readonly Credit[];
  readonly rows: RowPlan | null;
  readonly select: readonly RowFilter[];
  readonly weight: readonly Weighting[];
  readonly loss: readonly LossTerm[];
  readonly update: UpdatePlan;
  readonly observe: readonly Observer[];
}

/** A model that a system has beside its policy: a reference, a teacher, a judge. */
export interface ModelSpec {
  /** Where its weights come from at the start: the run's policy, a folder, or the user's choice for this run. */
  readonly from: "policy" | "given" | { readonly directory: string };
  /** Whether phases may train it. */
  readonly trained: boolean;
}

/** One part of a staged plan: which phases run, and for how many steps. */
export interface PlannedStage {
  readonly name: string;
  readonly phases: readonly string[];
  readonly steps: number;
}
/**
 * Stages of a run one after the other; the steps of the last one are open-ended where the run is longer.
 */
export type StagePlan = readonly PlannedStage[];

/** Answering with more than one call: judge, reflect, prune. */
export interface Inference extends Block {
  /** One trajectory a prompt, in their order: the last answer, with how it came about in `info`. */
  run(prompts: readonly Prompt[], ctx: InferenceContext): Promise<Trajectory[]>;
}

/** A training system: a choice at each step of the data's way, and nothing else. Made by `defineSystem`. */
export interface System {
  /** Lower-case words joined by hyphens: the name on the command line. */
  readonly id: string;
  readonly title: string;
  /** Number of the paper, or null. */
  readonly arxiv: string | null;
  /** How well the paper's claims are supported. */
  readonly evidence: "high" | "medium" | "low";
  /** What it trains, and the embedded task on which it is shown. */
  readonly policy: Actions["kind"];
  readonly task: string;
  readonly models: Readonly<Record<string, ModelSpec>>;
  /** What one step does, in order. */
  readonly phases: readonly Phase[];
  /** Which phases run when; null: all of them, always. */
  readonly stages: StagePlan | null;
  /** How it answers at test time, where that takes more than one call. */
  readonly inference: Inference | null;
}
