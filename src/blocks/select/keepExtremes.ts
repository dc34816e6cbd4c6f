import type { RowFilter } from "../../contract/system.js";
import { aNumber, checkArguments, listOf, withFields } from "../../engine/arguments.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { integer } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/**
 * The rows with the `best` greatest and the `worst` least rewards, in their order; equal rewards go by
 * position. null is neither. All rows with a reward where there are no more than asked for.
 */
export function extremeIndices(
  rewards: readonly (number | null)[],
  count: { best: number; worst: number },
): number[] {
  checkArguments(
    { rewards, count },
    { rewards: listOf(rewardOrNull), count: withFields({ best: aNumber, worst: aNumber }) },
  );
  const { best, worst } = count;
  const ranked = rewards
    .map((reward, row) => ({ reward, row }))
    .filter((one): one is { reward: number; row: number } => one.reward !== null)
    .sort((a, b) => b.reward - a.reward || a.row - b.row)
    .map(({ row }) => row);
  const kept = new Set(ranked.filter((_, i) => i < best || i >= ranked.length - worst));
  return rewards.flatMap((_, row) => (kept.has(row) ? [row] : []));
}

const shape = {
  best: integer(8, { min: 0 }, "rollouts kept from the top of every group"),
  worst: integer(8, { min: 0 }, "rollouts kept from the bottom of every group"),
};

/**
 * Trains the best and the worst rollouts of every group; the others have sharpened the statistics
 * (DanceGRPO, arXiv 2505.07818: the top and bottom 16 of up to 256 rollouts a prompt).
 */
export function keepExtremes(options: { best?: number; worst?: number } = {}): RowFilter {
  const { values, described } = parseOptions("keepExtremes", shape, options, {
    contradicts: {
      worst: (o) => (o.best + o.worst === 0 ? "a number above 0 (best is 0)" : null),
    },
  });
  return {
    block: "keepExtremes",
    options: described,
    run: (groups) =>
      groups.map((group) => {
        const rows = extremeIndices(
          group.trajectories.map((t) => t.reward),
          values,
        );
        return { ...group, trajectories: rows.map((row) => group.trajectories[row]!) };
      }),
  };
}
