import type { Prompt, Trajectory } from "./data.js";
import type { Measurer } from "./metrics.js";

/** What a reward is given: everything in the order of the trajectories, one entry each. */
export interface RewardContext {
  readonly prompts: readonly Prompt[];
  /** Texts, one per trajectory. */
  readonly completions: readonly string[];
  readonly trajectories: readonly Trajectory[];
  /** The prompts' columns, one value per trajectory; null where a prompt has none of that name. */
  readonly columns: Readonly<Record<string, readonly unknown[]>>;
  readonly signal: AbortSignal;
  /** Takes metrics of this reward, reported as `rewards/{name}/...`. */
  readonly measure?: Measurer;
}

/** One number per trajectory; null where this reward does not apply. */
export type RewardFunction = (
  ctx: RewardContext,
) => readonly (number | null)[] | Promise<readonly (number | null)[]>;
