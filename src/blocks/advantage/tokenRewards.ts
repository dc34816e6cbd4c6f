import type { Trajectory } from "../../contract/data.js";
import { checkArguments, numbers, optional, withFields } from "../../engine/arguments.js";
import { aColumn, rewardOrNull, someActions } from "../../engine/contractKinds.js";
import { perAction } from "../columns.js";

/**
 * What each action is rewarded with: its own (the column "tokenReward", where a reward plan wrote one), and
 * the rollout's reward at its last trained action. A rollout without a reward gets 0 there.
 *
 * @returns one per action
 */
export function tokenRewards(
  trajectory: Pick<Trajectory, "columns" | "actions" | "mask" | "reward">,
): Float64Array {
  checkArguments(
    { trajectory },
    {
      trajectory: withFields({
        columns: withFields({ tokenReward: optional(aColumn) }),
        actions: someActions,
        mask: numbers,
        reward: rewardOrNull,
      }),
    },
  );
  const { columns, mask, reward } = trajectory;
  const { length } = trajectory.actions;
  const { tokenReward = { level: "row", value: 0 } as const } = columns;
  const given = perAction("tokenReward", tokenReward, length);
  const rewards = new Float64Array(length);
  for (let i = 0; i < length; ++i) rewards[i] = given[i]!;
  let last = mask.length - 1;
  while (last >= 0 && mask[last] !== 1) last -= 1;
  if (last >= 0) rewards[last]! += reward ?? 0;
  return rewards;
}
