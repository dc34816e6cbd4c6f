import type { Trajectory } from "../../contract/data.js";
import { perAction } from "../columns.js";

/**
 * What each action is rewarded with: its own (the column "tokenReward", where a reward plan wrote one), and
 * the rollout's reward at its last trained action. A rollout without a reward gets 0 there.
 *
 * @returns one per action
 */
export function tokenRewards({
  columns,
  actions: { length },
  mask,
  reward,
}: Pick<Trajectory, "columns" | "actions" | "mask" | "reward">): Float64Array {
  const { tokenReward = { level: "row", value: 0 } as const } = columns;
  const rewards = Float64Array.from(perAction("tokenReward", tokenReward, length));
  const last = mask.lastIndexOf(1);
  if (last >= 0) rewards[last]! += reward ?? 0;
  return rewards;
}
