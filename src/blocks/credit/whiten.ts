import type { Credit } from "../../contract/system.js";
import { anEngine, anObject, checkArguments, listOf, numbers } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { engineOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { type EpsPlacement, epsPlacements } from "../../engine/kernels/groupNormTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import { choice, integer, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { groupAdvantages } from "../advantage/groupNormalize.js";
import { mapRows, perAction, withColumn } from "../columns.js";

/** How the standard deviation is taken. */
export interface WhitenOptions {
  /** 1 (default, verl): sample variance; 0 (OpenRLHF): population variance. */
  ddof?: 0 | 1;
  /** >= 0, default 1e-8. */
  eps?: number;
  /** "inside" (default, verl): sqrt(variance + eps); "floor" (OpenRLHF): sqrt(max(variance, eps)). */
  epsPlacement?: EpsPlacement;
}

const shape = {
  ddof: integer(1, { min: 0, max: 1 }, "1: sample variance, 0: population variance"),
  eps: number(1e-8, { min: 0 }, "keeps the divisor from 0"),
  epsPlacement: choice(
    "inside",
    Object.keys(epsPlacements) as EpsPlacement[],
    "inside: sqrt(variance + eps); outside: std + eps; floor: sqrt(max(variance, eps))",
  ),
};

/**
 * Values minus their mean over their standard deviation, over all unmasked values of a batch (verl
 * masked_whiten): long rows weigh more than short ones. Masked values give 0; where all are equal, all
 * give exactly 0.
 *
 * @param rows values per row and action
 * @param masks as rows
 */
export async function whitened(
  engine: Engine,
  rows: readonly ArrayLike<number>[],
  masks: readonly ArrayLike<number>[],
  options: WhitenOptions = {},
): Promise<Float32Array[]> {
  checkArguments(
    { engine, rows, masks, options },
    { engine: anEngine, rows: listOf(numbers), masks: listOf(numbers), options: anObject },
  );
  const { ddof = 1, eps = 1e-8, epsPlacement = "inside" } = options;
  for (const [r, { length }] of rows.entries()) {
    if (masks[r]?.length === length) continue;
    throw invalid("ERR_SHAPE", `masks[${r}]`, `${length} values, as in rows[${r}],`, masks[r]);
  }
  const valid = rows.flatMap((row, r) =>
    Array.from(row, (value, t) => (masks[r]![t] === 0 ? null : value)),
  );
  const { advantage } = await groupAdvantages(engine, valid, {
    groupOffsets: [0, valid.length],
    ...{ scale: "std", ddof, eps, epsPlacement },
  });
  const bounds = offsetsOf(rows.map(({ length }) => length));
  return rows.map((_, r) => Float32Array.from(advantage.slice(bounds[r], bounds[r + 1])));
}

/** Advantages whitened over all trained actions of the batch (REINFORCE++, Hu et al. 2025, section 3.2). */
export function whiten(options: WhitenOptions = {}): Credit {
  const { values, described } = parseOptions("whiten", shape, options);
  return {
    block: "whiten",
    options: described,
    async run(groups, ctx) {
      const rows = groups.flatMap((group) => group.trajectories);
      const white = await whitened(
        engineOf(ctx.engine),
        rows.map((t) => perAction("advantage", t.columns.advantage!, t.actions.length)),
        rows.map((t) => t.mask),
        values as WhitenOptions,
      );
      return mapRows(groups, (t, row) =>
        withColumn(t, "advantage", { level: "action", values: white[row]! }),
      );
    },
  };
}
