/**
 * Rotary position embedding in the half-split form of Llama and Qwen (Su et al. 2021): elements i and
 * i + D/2 of every head are rotated by position * base^(-2 i / D). x is [T, heads, D].
 */
export function rope(
  x: ArrayLike<number>,
  positions: ArrayLike<number>,
  { heads, headDim, base = 10000, inverse = false }: RopeShape,
): Float64Array {
  const half = headDim / 2;
  const y = new Float64Array(x.length);
  for (let t = 0; t < positions.length; ++t) {
    for (let head = 0; head < heads; ++head) {
      const at = (t * heads + head) * headDim;
      for (let i = 0; i < half; ++i) {
        const angle = (inverse ? -1 : 1) * positions[t]! * base ** ((-2 * i) / headDim);
        const [a, b] = [x[at + i]!, x[at + i + half]!];
        y[at + i] = a * Math.cos(angle) - b * Math.sin(angle);
        y[at + i + half] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
  }
  return y;
}

export interface RopeShape {
  heads: number;
  headDim: number;
  base?: number;
  /** Rotates back: the gradient. */
  inverse?: boolean;
}
