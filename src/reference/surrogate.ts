export type KlEstimator = "k1" | "k2" | "k3" | "abs" | "k3+";
export type Aggregation =
  | "token-mean"
  | "seq-mean-token-mean"
  | "seq-mean-token-sum"
  | "seq-mean-token-sum-norm"
  | "token-sum";

export interface SurrogateSetting {
  epsilon: number;
  epsilonHigh: number;
  /** Cap of the ratio in the unclipped arm; Infinity = none. */
  delta: number;
  /** For a negative advantage the loss is at most -dualClip * A; Infinity = none. */
  dualClip: number;
  beta: number;
  klEstimator: KlEstimator;
  aggregation: Aggregation;
  /** Instead of the count of trained tokens or active rows. */
  denominator?: number;
  /** For "seq-mean-token-sum-norm". */
  horizon?: number;
}

export interface SurrogateTokens {
  logProb: ArrayLike<number>;
  oldLogProb: ArrayLike<number>;
  refLogProb?: ArrayLike<number> | null;
  /** [R], or [T] when as long as the tokens and `advantagePerToken`. */
  advantage: ArrayLike<number>;
  advantagePerToken?: boolean;
  weight?: ArrayLike<number> | null;
  mask?: ArrayLike<number> | null;
  rowOffsets: ArrayLike<number>;
}

export interface SurrogateValues {
  loss: number;
  policyLoss: number;
  klLoss: number;
  /** d loss / d logProb, of the policy loss and of the KL. */
  dPolicy: Float64Array;
  dKl: Float64Array;
  dLogProb: Float64Array;
  /** Sum of the absolute values of everything that was added up: what rounding is relative to. */
  magnitude: number;
}

/**
 * -min(min(r, delta) A, clip(r, 1 - low, 1 + high) A), for A < 0 at most -dualClip A, r = exp(logProb -
 * oldLogProb). The gradient -A r passes where the loss depends on r, bounds included.
 * PPO (Schulman et al. 2017, eq. 7); dual clip Ye et al. 2020, eq. 5; delta as in TRL.
 */
export function policyLoss(
  logProb: number,
  oldLogProb: number,
  advantage: number,
  setting: Pick<SurrogateSetting, "epsilon" | "epsilonHigh" | "delta" | "dualClip">,
): { loss: number; gradient: number } {
  const ratio = Math.exp(logProb - oldLogProb);
  const low = 1 - setting.epsilon;
  const high = 1 + setting.epsilonHigh;
  const free = -Math.min(ratio, setting.delta) * advantage;
  const clipped = -Math.min(Math.max(ratio, low), high) * advantage;
  const cap = advantage < 0 ? -setting.dualClip * advantage : Number.POSITIVE_INFINITY;
  const loss = Math.min(Math.max(free, clipped), cap);
  const moves = free >= clipped && ratio <= setting.delta && free <= cap;
  return { loss, gradient: moves ? -advantage * ratio : 0 };
}

/** Estimators of KL(policy || reference) at one token (Schulman 2020), with d / d logProb. */
export function klEstimate(
  logProb: number,
  refLogProb: number,
  estimator: KlEstimator,
): { value: number; gradient: number } {
  const d = logProb - refLogProb;
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

/** What each token's loss is multiplied by on its way into the one number. */
function tokenShares(tokens: SurrogateTokens, setting: SurrogateSetting): Float64Array {
  const { rowOffsets, mask } = tokens;
  const rows = rowOffsets.length - 1;
  const shares = new Float64Array(tokens.logProb.length);
  const counts = Array.from({ length: rows }, (_, r) => {
    let count = 0;
    for (let t = rowOffsets[r]!; t < rowOffsets[r + 1]!; ++t) if (mask?.[t] !== 0) ++count;
    return count;
  });
  const trained = counts.reduce((a, b) => a + b, 0);
  const active = counts.filter((count) => count > 0).length;
  for (let r = 0; r < rows; ++r) {
    const share = {
      "token-mean": 1 / (setting.denominator ?? trained),
      "token-sum": 1 / (setting.denominator ?? 1),
      "seq-mean-token-mean": 1 / (counts[r]! * (setting.denominator ?? active)),
      "seq-mean-token-sum": 1 / (setting.denominator ?? active),
      "seq-mean-token-sum-norm": 1 / (setting.horizon! * (setting.denominator ?? active)),
    }[setting.aggregation];
    for (let t = rowOffsets[r]!; t < rowOffsets[r + 1]!; ++t)
      if (mask?.[t] !== 0) shares[t] = share;
  }
  return shares;
}

/** Masked tokens are left out of everything; a batch without trained tokens gives 0. */
export function surrogate(tokens: SurrogateTokens, setting: SurrogateSetting): SurrogateValues {
  const { logProb, oldLogProb, refLogProb, weight, rowOffsets, mask } = tokens;
  const shares = tokenShares(tokens, setting);
  const out = { loss: 0, policyLoss: 0, klLoss: 0, magnitude: 0 };
  const dPolicy = new Float64Array(logProb.length);
  const dKl = new Float64Array(logProb.length);
  for (let r = 0; r + 1 < rowOffsets.length; ++r) {
    for (let t = rowOffsets[r]!; t < rowOffsets[r + 1]!; ++t) {
      if (mask?.[t] === 0) continue;
      const advantage = tokens.advantage[tokens.advantagePerToken ? t : r]!;
      const policy = policyLoss(logProb[t]!, oldLogProb[t]!, advantage, setting);
      const w = weight?.[t] ?? 1;
      out.policyLoss += shares[t]! * w * policy.loss;
      dPolicy[t] = shares[t]! * w * policy.gradient;
      out.magnitude += Math.abs(shares[t]! * w * policy.loss);
      if (setting.beta === 0 || !refLogProb) continue;
      const kl = klEstimate(logProb[t]!, refLogProb[t]!, setting.klEstimator);
      out.klLoss += shares[t]! * setting.beta * kl.value;
      dKl[t] = shares[t]! * setting.beta * kl.gradient;
      out.magnitude += Math.abs(shares[t]! * setting.beta * kl.value);
    }
  }
  const dLogProb = dPolicy.map((gradient, t) => gradient + dKl[t]!);
  return { ...out, loss: out.policyLoss + out.klLoss, dPolicy, dKl, dLogProb };
}
