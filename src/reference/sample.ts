/** The cumulative distribution of softmax(logits / temperature). */
export function cumulative(logits: ArrayLike<number>, temperature = 1): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < logits.length; ++v) max = Math.max(max, logits[v]! / temperature);
  const out = new Float64Array(logits.length);
  let sum = 0;
  for (let v = 0; v < logits.length; ++v) {
    sum += Math.exp(logits[v]! / temperature - max);
    out[v] = sum;
  }
  return out.map((x) => x / sum);
}

/** The smallest token whose cumulative probability exceeds `uniform` (in [0, 1)). */
export function sample(logits: ArrayLike<number>, uniform: number, temperature = 1): number {
  return cumulative(logits, temperature).findIndex((x) => x > uniform);
}

/** The first of the largest. */
export function greedy(logits: ArrayLike<number>): number {
  let best = 0;
  for (let v = 1; v < logits.length; ++v) if (logits[v]! > logits[best]!) best = v;
  return best;
}
