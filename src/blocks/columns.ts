import type { Column, Group, Trajectory } from "../contract/data.js";
import {
  aFunction,
  anInteger,
  anObject,
  anything,
  aText,
  checkArguments,
  listOf,
  withFields,
} from "../engine/arguments.js";
import { aColumn } from "../engine/contractKinds.js";
import { FiresteelError } from "../engine/error.js";
import { offsetsOf } from "../engine/ragged.js";

/**
 * A column at the granularity of actions.
 *
 * @param length number of actions
 * @returns f32 [length]
 * @throws FiresteelError ERR_SHAPE where the column does not cover exactly the actions
 */
export function perAction(name: string, column: Column, length: number): Float32Array {
  checkArguments({ name, column, length }, { name: aText, column: aColumn, length: anInteger() });
  if (column.level === "row") return new Float32Array(length).fill(column.value);
  if (column.level === "action") {
    if (column.values.length === length) return column.values;
    throw new FiresteelError(
      "ERR_SHAPE",
      `Expected ${length} values in column "${name}" but received ${column.values.length}`,
    );
  }
  const { values, bounds } = column;
  const ends = bounds[bounds.length - 1];
  if (bounds.length !== values.length + 1 || bounds[0] !== 0 || ends !== length) {
    throw new FiresteelError(
      "ERR_SHAPE",
      `Expected ${values.length + 1} bounds from 0 to ${length} in column "${name}" ` +
        `but received ${bounds.length} from ${bounds[0]} to ${ends}`,
    );
  }
  const out = new Float32Array(length);
  for (let s = 0; s < values.length; ++s) out.fill(values[s]!, bounds[s]!, bounds[s + 1]!);
  return out;
}

/** A column with every value changed, at the granularity that it has. */
export function mapColumn(column: Column, change: (value: number) => number): Column {
  if (column.level === "row") return { level: "row", value: change(column.value) };
  const { values } = column;
  // Not by `map`, which throws on memory that a getter has transferred.
  const changed = new Float32Array(values.length);
  for (let i = 0; i < changed.length; ++i) changed[i] = change(values[i]!);
  return { ...column, values: changed };
}

/** The same trajectory with one more column. */
export function withColumn(trajectory: Trajectory, name: string, column: Column): Trajectory {
  checkArguments(
    { trajectory, name, column },
    { trajectory: withFields({ columns: anObject }), name: aText, column: aColumn },
  );
  return { ...trajectory, columns: { ...trajectory.columns, [name]: column } };
}

/** Groups with each trajectory replaced, given its position among all rows. */
export function mapRows(
  groups: readonly Group[],
  replace: (trajectory: Trajectory, row: number) => Trajectory,
): Group[] {
  checkArguments(
    { groups, replace },
    { groups: listOf(withFields({ trajectories: listOf(anything) })), replace: aFunction },
  );
  let row = 0;
  return groups.map((group) => ({
    ...group,
    trajectories: group.trajectories.map((trajectory) => replace(trajectory, row++)),
  }));
}

/** Where each group's rows begin: [G + 1]. */
export function groupOffsets(groups: readonly Group[]): Int32Array {
  checkArguments({ groups }, { groups: listOf(withFields({ trajectories: listOf(anything) })) });
  return offsetsOf(groups.map((group) => group.trajectories.length));
}
