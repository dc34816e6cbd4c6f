import type { RewardContext } from "../contract/reward.js";

/** What a reward sees of some rows of a batch, in the order of `rows`. */
export function rewardRows(ctx: RewardContext, rows: readonly number[]): RewardContext {
  const pick = <T>(values: readonly T[]) => rows.map((row) => values[row]!);
  const columns = Object.entries(ctx.columns).map(([name, values]) => [name, pick(values)]);
  return {
    ...ctx,
    prompts: pick(ctx.prompts),
    completions: pick(ctx.completions),
    trajectories: pick(ctx.trajectories),
    columns: Object.fromEntries(columns),
  };
}
