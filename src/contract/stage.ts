import type { Column, Prompt, Question, Trajectory } from "./data.js";
import type { DeviceEngine } from "./device.js";
import type { QuestionForms } from "./forms.js";
import type { Measurer } from "./metrics.js";
import type { Policy } from "./policy.js";
import type { RewardFunction } from "./reward.js";
import type { SamplePlan } from "./sampler.js";
import type { StateStore } from "./state.js";

/** The run's own choices that stages may need. TRL's names. */
export interface RolloutSettings {
  /** Prompts per phase. */
  readonly promptsPerStep: number;
  /** Rollouts per prompt. */
  readonly numGenerations: number;
  readonly temperature: number;
  readonly maxCompletionLength: number;
}

/** All that a stage can reach. */
export interface StepContext {
  readonly engine: DeviceEngine;
  readonly settings: RolloutSettings;
  /** The next training prompts of the task; the cursor is saved with the checkpoint. */
  prompts(count: number): Prompt[];
  /** A prompt made on the way: from rollouts, hints, critiques. */
  tokenize(question: Question): Prompt;
  /** Rollouts in the order of the plan's prompts. */
  sample(plan: SamplePlan): Promise<Trajectory[]>;
  /** Continues the first `at` actions of a rollout, `children` times. */
  fork(t: Trajectory, at: number, children: number): Promise<Trajectory[]>;
  /** Log-probs (action level) under a model, given the rows' own prompts or others. */
  score(
    ts: readonly Trajectory[],
    how?: { model?: string; prompts?: readonly Prompt[] },
  ): Promise<Column[]>;
  /** The estimate of the learning model's value head before each action (action level). */
  values(ts: readonly Trajectory[]): Promise<Column[]>;
  /** A right answer to a training prompt, as the task shows it: rows that nobody sampled. */
  demonstrate(prompt: Prompt): Trajectory;
  /** The same rollouts with `rewards` and `reward` as the phase's reward plan has them. */
  reward(ts: readonly Trajectory[]): Promise<Trajectory[]>;
  /** The task's own rewards. */
  readonly rewards: Readonly<Record<string, RewardFunction>>;
  /** The task's factors of them; 1 where there is none. */
  readonly rewardWeights?: Readonly<Record<string, number>>;
  /** The task's own; null where it has none. */
  readonly forms: QuestionForms | null;
  /** Of the tasks of a mixture, by their ids, as questions have it in `task`; undefined where it is none. */
  readonly formsByTask?: Readonly<Record<string, QuestionForms | null>>;
  readonly models: Readonly<Record<string, Policy>>;
  readonly state: StateStore;
  /** In [0, 1); one stream per step and phase, the same whether resumed or not. */
  readonly uniform: () => number;
  /** The same, from a stream of the caller's own: what else the phase draws does not shift it. */
  uniformOf(name: string): () => number;
  readonly measure: Measurer;
  /** Counts from 1. */
  readonly step: number;
  /** The pass over the task's training prompts that the last one drawn belongs to; counts from 0. */
  readonly epoch: number;
  readonly signal: AbortSignal;
}

/** What answering with more than one call can reach. */
export type InferenceContext = Pick<StepContext, "sample" | "tokenize" | "forms" | "formsByTask">;
