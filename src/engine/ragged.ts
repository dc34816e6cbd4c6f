/** Rows of unequal length that lie one after the other, without padding. */

/** The joined values of all rows. */
export function concatenate<T extends Float32Array | Int32Array | Uint8Array>(
  type: new (length: number) => T,
  rows: readonly T[],
): T {
  const out = new type(rows.reduce((sum, row) => sum + row.length, 0));
  let at = 0;
  for (const row of rows) {
    if (row.length > 0) out.set(row, at); // a detached one cannot be copied, though it has no length
    at += row.length;
  }
  return out;
}

/** Where rows of these lengths begin: [R + 1], row r holds `offsets[r]` to `offsets[r + 1]`. */
export function offsetsOf(lengths: readonly number[]): Int32Array {
  const out = new Int32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) out[i + 1] = out[i]! + length;
  return out;
}
