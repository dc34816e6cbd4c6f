import type { RowFilter } from "../../contract/system.js";
import { aNumber, checkArguments, listOf } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/**
 * The best and the worst of some scores: [chosen, rejected], the first of each on ties. null where the gap
 * is not above the margin, or fewer than two are there.
 *
 * @param scores null: not scored
 * @param margin >= 0, default 0
 */
export function bestWorstPair(
  scores: readonly (number | null)[],
  margin = 0,
): [chosen: number, rejected: number] | null {
  checkArguments({ scores, margin }, { scores: listOf(rewardOrNull), margin: aNumber });
  const present = scores.filter((score) => score !== null);
  if (present.length < 2) return null;
  const best = present.reduce((a, b) => Math.max(a, b));
  const worst = present.reduce((a, b) => Math.min(a, b));
  return best - worst > margin ? [scores.indexOf(best), scores.indexOf(worst)] : null;
}

const shape = {
  margin: number(0, { min: 0 }, "rewards must differ by more than this to make a pair"),
};

/**
 * Of every group the row with the highest and that with the lowest reward, in this order; groups that have
 * none to prefer are left out. The share of groups that made a pair is reported as `pairs/formed`.
 */
export function bestWorstPairs(options: { margin?: number } = {}): RowFilter {
  const { values, described } = parseOptions("bestWorstPairs", shape, options);
  return {
    block: "bestWorstPairs",
    options: described,
    inspect(run) {
      if (run.numGenerations >= 2) return [];
      throw invalid(
        "ERR_OPTION",
        "numGenerations",
        "at least 2 (pairs are made of a group)",
        run.numGenerations,
      );
    },
    run(groups, ctx) {
      const pairs = groups.flatMap((group) => {
        const rewards = group.trajectories.map(({ reward }) => reward);
        const pair = bestWorstPair(rewards, values.margin);
        if (pair === null) return [];
        return [{ ...group, trajectories: pair.map((row) => group.trajectories[row]!) }];
      });
      ctx.measure("pairs/formed", { kind: "mean", sum: pairs.length, count: groups.length });
      return pairs;
    },
  };
}
