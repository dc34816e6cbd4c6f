import type { Advantage } from "../../contract/system.js";
import { aNumber, checkArguments, numbers } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows, withColumn } from "../columns.js";
import { tokenRewards } from "./tokenRewards.js";

/**
 * Discounted sums of the rewards from each action on: G_t = r_t + gamma G_{t+1} over the actions with
 * mask 1. Others give 0, and the sum passes over them unchanged (as in verl's REINFORCE++).
 *
 * @param rewards one per action
 * @param mask one per action
 * @param gamma in [0, 1]
 * @throws FiresteelError ERR_SHAPE
 */
export function discountedReturns(
  rewards: ArrayLike<number>,
  mask: ArrayLike<number>,
  gamma = 1,
): number[] {
  checkArguments({ rewards, mask, gamma }, { rewards: numbers, mask: numbers, gamma: aNumber });
  if (mask.length !== rewards.length) {
    throw invalid("ERR_SHAPE", "mask", `${rewards.length} values, as in rewards,`, mask.length);
  }
  const returns = new Array<number>(rewards.length).fill(0);
  let running = 0;
  for (let t = rewards.length - 1; t >= 0; --t) {
    if (mask[t] === 0) continue;
    running = rewards[t]! + gamma * running;
    returns[t] = running;
  }
  return returns;
}

const shape = { gamma: number(1, { min: 0, max: 1 }, "discount per action") };

/**
 * Each action's own rewards (the column "tokenReward", where a reward plan wrote one) and the rollout's at
 * its last trained action, discounted back to every action (REINFORCE++, Hu et al. 2025): one advantage
 * per action, not normalised. A rollout without a reward gets 0 for it.
 */
export function rewardToGo(options: { gamma?: number } = {}): Advantage {
  const { values, described } = parseOptions("rewardToGo", shape, options);
  return {
    block: "rewardToGo",
    options: described,
    run: (groups) =>
      mapRows(groups, (t) => {
        const returns = discountedReturns(tokenRewards(t), t.mask, values.gamma);
        return withColumn(t, "advantage", { level: "action", values: Float32Array.from(returns) });
      }),
  };
}
