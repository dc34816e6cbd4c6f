import type { Group, Trajectory } from "../contract/data.js";
import type { LossScale, LossTerm } from "../contract/loss.js";
import { offsetsOf } from "../engine/ragged.js";
import { isCoupled } from "./lossTerms.js";
import { permutation } from "./random.js";

/** Rows that go through the network together, group by group. */
export interface RowBatch {
  readonly rows: readonly Trajectory[];
  /** [G + 1]: rows of group g. */
  readonly groupOffsets: Int32Array;
}

/**
 * Cuts the rows of a phase into optimiser steps of about `size` rows each, in random order. Where a
 * loss term couples the rows of a group, groups stay whole; else rows are shuffled one by one, and each
 * stands for itself in `groupOffsets`.
 */
export function minibatches(
  groups: readonly Group[],
  size: number,
  terms: readonly Pick<LossTerm, "coupling">[],
  uniform: () => number,
): RowBatch[] {
  const units = terms.some(isCoupled)
    ? groups.map((group) => group.trajectories)
    : groups.flatMap((group) => group.trajectories.map((row) => [row]));
  const shuffled = permutation(units.length, uniform).map((i) => units[i]!);
  return packed(shuffled, size);
}

/**
 * Parts of a minibatch of at most `size` rows, in its order. Groups may be cut: what of a group stands in a
 * part is a group of the part. Terms that need whole groups are evaluated before, on the minibatch.
 */
export function microBatches({ rows, groupOffsets }: RowBatch, size: number): RowBatch[] {
  const parts: RowBatch[] = [];
  for (let begin = 0; begin < rows.length; begin += size) {
    const end = Math.min(begin + size, rows.length);
    const inside = groupOffsets.filter((offset) => offset > begin && offset < end);
    parts.push({
      rows: rows.slice(begin, end),
      groupOffsets: Int32Array.of(begin, ...inside, end).map((offset) => offset - begin),
    });
  }
  return parts;
}

function packed(units: readonly (readonly Trajectory[])[], size: number): RowBatch[] {
  const batches: (readonly Trajectory[])[][] = [];
  let rows = size;
  for (const unit of units) {
    if (unit.length === 0) continue;
    if (rows + unit.length > size) {
      batches.push([]);
      rows = 0;
    }
    batches.at(-1)!.push(unit);
    rows += unit.length;
  }
  return batches.map((batch) => ({
    rows: batch.flat(),
    groupOffsets: offsetsOf(batch.map((unit) => unit.length)),
  }));
}

/** Counts of an optimiser step, by which each of its parts is divided. */
export function lossScale({ rows, groupOffsets }: RowBatch): LossScale {
  const trained = rows.map(({ mask }) => mask.reduce((sum, m) => sum + m, 0));
  const groups = Array.from({ length: groupOffsets.length - 1 }, (_, g) =>
    trained.slice(groupOffsets[g], groupOffsets[g + 1]),
  );
  return {
    trainedTokens: trained.reduce((sum, n) => sum + n, 0),
    rows: rows.length,
    activeRows: trained.filter((n) => n > 0).length,
    groups: groups.length,
    activeGroups: groups.filter((own) => own.some((n) => n > 0)).length,
  };
}
