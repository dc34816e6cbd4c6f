/** Bounds of equally long rows: kernels take ragged ones, peers mostly cannot. */
export function evenOffsets(rows: number, total: number): Int32Array {
  return Int32Array.from({ length: rows + 1 }, (_, r) => (r * total) / rows);
}
