import type { Advantage } from "../../contract/system.js";
import { number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows, withColumn } from "../columns.js";

const shape = { value: number(1, {}, "the advantage of every row") };

/** The same advantage for every row, whatever its reward: with 1, `reinforce` is the cross entropy. */
export function constantAdvantage(options: { value?: number } = {}): Advantage {
  const { values, described } = parseOptions("constantAdvantage", shape, options);
  return {
    block: "constantAdvantage",
    options: described,
    run: (groups) =>
      mapRows(groups, (t) => withColumn(t, "advantage", { level: "row", value: values.value })),
  };
}
