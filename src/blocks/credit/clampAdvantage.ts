import type { Column } from "../../contract/data.js";
import type { Credit } from "../../contract/system.js";
import { aNumber, checkArguments } from "../../engine/arguments.js";
import { aColumn } from "../../engine/contractKinds.js";
import { FiresteelError } from "../../engine/error.js";
import { number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapColumn, mapRows, withColumn } from "../columns.js";

/** A column with every value held within -limit and limit. */
export function clampColumn(column: Column, limit: number): Column {
  checkArguments({ column, limit }, { column: aColumn, limit: aNumber });
  return mapColumn(column, (value) => Math.min(Math.max(value, -limit), limit));
}

const shape = { limit: number(5, { above: 0 }, "greatest magnitude of an advantage") };

/**
 * Holds advantages within a limit, at the granularity that they have: a rare reward in a large group
 * would otherwise outweigh the rest (DDPO's adv_clip_max, Black et al. 2023; Flow-GRPO and DanceGRPO: 5).
 */
export function clampAdvantage(options: { limit?: number } = {}): Credit {
  const { values, described } = parseOptions("clampAdvantage", shape, options);
  return {
    block: "clampAdvantage",
    options: described,
    run: (groups) =>
      mapRows(groups, (t) => {
        const { advantage } = t.columns;
        if (advantage !== undefined) {
          return withColumn(t, "advantage", clampColumn(advantage, values.limit));
        }
        const message = 'Expected a column "advantage" in every row for clampAdvantage';
        throw new FiresteelError("ERR_OPTION", message);
      }),
  };
}
