import type { Trajectory } from "../../contract/data.js";
import type { RowFilter } from "../../contract/system.js";
import { aNumber, checkArguments, listOf } from "../../engine/arguments.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { flag } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { withColumn } from "../columns.js";
import { nonzeroScale } from "../credit/scaleByNonzero.js";

/** The lower median of the values that are not null; null where there are none. */
export function lowerMedian(values: readonly (number | null)[]): number | null {
  checkArguments({ values }, { values: listOf(rewardOrNull) });
  const present = values.filter((value) => value !== null).sort((a, b) => a - b);
  return present[Math.floor((present.length - 1) / 2)] ?? null;
}

/** The first row whose reward is the group's median; -1 where no row has a reward. */
export function pivotIndex(rewards: readonly (number | null)[]): number {
  checkArguments({ rewards }, { rewards: listOf(rewardOrNull) });
  const median = lowerMedian(rewards);
  return median === null ? -1 : rewards.indexOf(median);
}

/** Advantages times rows / non-zero rows, so that dropping zeros does not shrink the update. */
export function compensate(advantages: readonly number[]): number[] {
  checkArguments({ advantages }, { advantages: listOf(aNumber) });
  const scale = nonzeroScale(advantages);
  return advantages.map((advantage) => advantage * scale);
}

const shape = {
  compensate: flag(
    false,
    "multiply non-zero advantages by rows / non-zero rows before dropping (released GSM8K trainer)",
  ),
};

/**
 * Drops one row of every group that equals the median, whose advantage is 0 under a median centre
 * (MC-GRPO, arXiv 2601.22582). Other rows with advantage 0 stay and count in the denominators.
 */
export function dropPivot(options: { compensate?: boolean } = {}): RowFilter {
  const { values, described } = parseOptions("dropPivot", shape, options);
  return {
    block: "dropPivot",
    options: described,
    run(groups) {
      return groups.map((group) => {
        const pivot = pivotIndex(group.trajectories.map((t) => t.reward));
        const rows = values.compensate ? compensated(group.trajectories) : group.trajectories;
        return { ...group, trajectories: rows.filter((_, i) => i !== pivot) };
      });
    },
  };
}

function compensated(trajectories: readonly Trajectory[]): Trajectory[] {
  const advantages = trajectories.map(({ columns: { advantage } }) =>
    advantage?.level === "row" ? advantage.value : 0,
  );
  const scaled = compensate(advantages);
  return trajectories.map((t, i) =>
    withColumn(t, "advantage", { level: "row", value: scaled[i]! }),
  );
}
