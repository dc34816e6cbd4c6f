export type KlEstimator = "k1" | "k2" | "k3" | "abs" | "k3+";

/** Largest |difference of log-probs| and largest |estimate|; the gradient is 0 beyond. */
export interface KlClamp {
  readonly difference?: number;
  readonly value?: number;
}

const clamp = (x: number, limit = Number.POSITIVE_INFINITY) => Math.max(-limit, Math.min(x, limit));

/** The estimators of KL(policy || reference) at one token (Schulman 2020); d = logProb - refLogProb. */
function estimate(d: number, estimator: KlEstimator): { value: number; gradient: number } {
  switch (estimator) {
    case "k1":
      return { value: d, gradient: 1 };
    case "k2":
      return { value: (d * d) / 2, gradient: d };
    case "k3":
      return { value: Math.expm1(-d) + d, gradient: -Math.expm1(-d) };
    case "abs":
      return { value: Math.abs(d), gradient: Math.sign(d) };
    case "k3+":
      return { value: Math.expm1(-d) + d, gradient: d };
  }
}

/**
 * An estimate and its d / d logProb.
 *
 * @param base what stop-gradients hold: "k3+" is sg(k3) + k2 - sg(k2). Elsewhere than at `base` the
 *   value moves as the gradient says, so that differences of it are differences of the declared loss.
 */
export function klEstimate(
  logProb: number,
  refLogProb: number,
  estimator: KlEstimator,
  limits: KlClamp = {},
  base = logProb,
): { value: number; gradient: number } {
  const difference = (lp: number) => clamp(lp - refLogProb, limits.difference);
  const d = difference(logProb);
  if (estimator === "k3+") {
    const held = estimate(difference(base), "k3").value;
    const free = Math.abs(held) <= (limits.value ?? Number.POSITIVE_INFINITY);
    const moved = estimate(d, "k2").value - estimate(difference(base), "k2").value;
    const gradient = free && d === logProb - refLogProb ? d : 0;
    return { value: clamp(held, limits.value) + (free ? moved : 0), gradient };
  }
  const { value, gradient } = estimate(d, estimator);
  const inside = d === logProb - refLogProb && value === clamp(value, limits.value);
  return { value: clamp(value, limits.value), gradient: inside ? gradient : 0 };
}

/** Estimates of every token, 0 on masked ones, and their sums over rows. */
export function kl(
  tokens: {
    logProb: ArrayLike<number>;
    refLogProb: ArrayLike<number>;
    mask?: ArrayLike<number> | null;
    rowOffsets: ArrayLike<number>;
  },
  estimator: KlEstimator,
  limits: KlClamp = {},
): { kl: Float64Array; rowKl: Float64Array } {
  const { logProb, refLogProb, mask, rowOffsets } = tokens;
  const out = {
    kl: new Float64Array(logProb.length),
    rowKl: new Float64Array(rowOffsets.length - 1),
  };
  for (let r = 0; r + 1 < rowOffsets.length; ++r) {
    for (let t = rowOffsets[r]!; t < rowOffsets[r + 1]!; ++t) {
      if (mask?.[t] === 0) continue;
      out.kl[t] = klEstimate(logProb[t]!, refLogProb[t]!, estimator, limits).value;
      out.rowKl[r]! += out.kl[t]!;
    }
  }
  return out;
}
