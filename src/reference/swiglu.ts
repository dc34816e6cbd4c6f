function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** silu(gate) * up (Shazeer 2020), silu(x) = x sigmoid(x). */
export function swiglu(gate: ArrayLike<number>, up: ArrayLike<number>): Float64Array {
  return Float64Array.from(gate, (x, i) => x * sigmoid(x) * up[i]!);
}

/** silu'(x) = s (1 + x (1 - s)). */
export function swigluGradient(
  gate: ArrayLike<number>,
  up: ArrayLike<number>,
  dY: ArrayLike<number>,
): { dGate: Float64Array; dUp: Float64Array } {
  const dGate = Float64Array.from(gate, (x, i) => {
    const s = sigmoid(x);
    return dY[i]! * up[i]! * s * (1 + x * (1 - s));
  });
  const dUp = Float64Array.from(gate, (x, i) => dY[i]! * x * sigmoid(x));
  return { dGate, dUp };
}
