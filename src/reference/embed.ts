/** table[ids[t]], [ids.length, width]; NaN for an id that the table does not have. */
export function gatherRows(
  table: ArrayLike<number>,
  width: number,
  ids: ArrayLike<number>,
): Float64Array {
  const rows = table.length / width;
  const y = new Float64Array(ids.length * width);
  for (let t = 0; t < ids.length; ++t) {
    const known = ids[t]! >= 0 && ids[t]! < rows;
    for (let j = 0; j < width; ++j) {
      y[t * width + j] = known ? table[ids[t]! * width + j]! : Number.NaN;
    }
  }
  return y;
}

/** The table with row ids[t] replaced by x[t]; unknown ids are skipped. */
export function scatterRows(
  table: ArrayLike<number>,
  width: number,
  ids: ArrayLike<number>,
  x: ArrayLike<number>,
): Float64Array {
  const out = Float64Array.from(table);
  for (let t = 0; t < ids.length; ++t) {
    if (ids[t]! < 0 || ids[t]! >= table.length / width) continue;
    for (let j = 0; j < width; ++j) out[ids[t]! * width + j] = x[t * width + j]!;
  }
  return out;
}

/** The table with x[t] added to row ids[t]; unknown ids are skipped. */
export function scatterAddRows(
  table: ArrayLike<number>,
  width: number,
  ids: ArrayLike<number>,
  x: ArrayLike<number>,
): Float64Array {
  const out = Float64Array.from(table);
  for (let t = 0; t < ids.length; ++t) {
    if (ids[t]! < 0 || ids[t]! >= table.length / width) continue;
    for (let j = 0; j < width; ++j) {
      const at = ids[t]! * width + j;
      out[at] = out[at]! + x[t * width + j]!;
    }
  }
  return out;
}
