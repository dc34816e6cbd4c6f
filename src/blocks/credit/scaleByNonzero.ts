import type { Trajectory } from "../../contract/data.js";
import type { Credit } from "../../contract/system.js";
import { checkArguments, listOf } from "../../engine/arguments.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { choice } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapColumn, mapRows, withColumn } from "../columns.js";

/** Values over values that are not 0; 1 where all are. Nulls do not count. */
export function nonzeroScale(values: readonly (number | null)[]): number {
  checkArguments({ values }, { values: listOf(rewardOrNull) });
  const present = values.filter((value) => value !== null);
  const active = present.filter((value) => value !== 0).length;
  return active === 0 ? 1 : present.length / active;
}

const shape = {
  count: choice(
    "reward",
    ["reward", "advantage"],
    "what must not be 0 for a row to count: its reward (verl), or its advantage (the paper)",
  ),
};

/**
 * Advantages times rows / rows that count, over the batch: rows that teach nothing do not shrink the
 * update (GPG, Chu et al. 2025, eq. 6). Its alpha counts rows with a gradient; verl counts rewards.
 */
export function scaleByNonzero(options: { count?: "reward" | "advantage" } = {}): Credit {
  const { values, described } = parseOptions("scaleByNonzero", shape, options);
  return {
    block: "scaleByNonzero",
    options: described,
    run(groups) {
      const rows = groups.flatMap((group) => group.trajectories);
      const counted =
        values.count === "reward" ? rows.map((t) => t.reward) : rows.map(firstNonzero);
      const scale = nonzeroScale(counted);
      return mapRows(groups, (t) =>
        withColumn(
          t,
          "advantage",
          mapColumn(t.columns.advantage!, (value) => value * scale),
        ),
      );
    },
  };
}

/** The row's first advantage that is not 0, else 0. */
function firstNonzero({ columns }: Trajectory): number {
  const advantage = columns.advantage!;
  if (advantage.level === "row") return advantage.value;
  return advantage.values.find((value) => value !== 0) ?? 0;
}
