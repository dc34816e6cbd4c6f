import type { Column, Trajectory } from "../contract/data.js";
import type { Scored } from "./accumulate.js";

/**
 * The first value that a loss would read and that is not a number: in a column of a row, else among its
 * log-probs and values. What belongs to masked actions alone is not read. Kernels leave such a row out and
 * go on; a run is not to.
 *
 * @param columns their names; default all that a row has
 */
export function notANumber(
  rows: readonly Trajectory[],
  scored: Scored,
  columns?: readonly string[],
): string | null {
  for (const [r, row] of rows.entries()) {
    const scores = Object.entries(scored.get(row)!).flatMap(([model, { logProb, value }]) => [
      [`log-prob (${model})`, { level: "action", values: logProb }] as const,
      ...(value === null
        ? []
        : [[`value (${model})`, { level: "action", values: value }] as const]),
    ]);
    const read = (columns ?? Object.keys(row.columns)).map(
      (name) => [name, row.columns[name]!] as const,
    );
    for (const [name, column] of [...read, ...scores]) {
      const at = firstNaN(column, row.mask);
      if (at !== -1) return `${name} of row ${r} is NaN at ${at}`;
    }
  }
  return null;
}

/** The index of the first NaN that belongs to a trained action; -1: there is none. */
function firstNaN(column: Column, mask: Uint8Array): number {
  if (column.level === "row") return Number.isNaN(column.value) && mask.includes(1) ? 0 : -1;
  const { values } = column;
  if (column.level === "action")
    return values.findIndex((v, i) => Number.isNaN(v) && mask[i] === 1);
  const { bounds } = column;
  return values.findIndex(
    (v, s) => Number.isNaN(v) && mask.subarray(bounds[s], bounds[s + 1]).includes(1),
  );
}
