export interface MatmulShape {
  m: number;
  n: number;
  k: number;
  /** a is [k, m] instead of [m, k]. */
  transposeA?: boolean;
  /** b is [n, k] instead of [k, n]. */
  transposeB?: boolean;
}

/** op(a) op(b), [m, n]. */
export function matmul(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { m, n, k, transposeA = false, transposeB = false }: MatmulShape,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; ++i) {
    for (let j = 0; j < n; ++j) {
      let sum = 0;
      for (let p = 0; p < k; ++p) {
        const left = transposeA ? a[p * m + i]! : a[i * k + p]!;
        const right = transposeB ? b[j * k + p]! : b[p * n + j]!;
        sum += left * right;
      }
      c[i * n + j] = sum;
    }
  }
  return c;
}
