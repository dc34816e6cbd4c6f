/** log sigmoid(z). */
function logSigmoid(z: number): number {
  return Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));
}

function sigmoid(z: number): number {
  return Math.exp(logSigmoid(z));
}

/** x log(p), where log(p) may be -inf. */
const times = (x: number, logP: number): number => (x === 0 ? 0 : x * logP);

export function bernoulliEntropy(z: number): number {
  return -times(sigmoid(z), logSigmoid(z)) - times(sigmoid(-z), logSigmoid(-z));
}

/**
 * p log(p / q) + (1 - p) log((1 - p) / (1 - q)). Near each other the two terms are taken from q - p,
 * which the product of hyperbolic functions gives without cancellation.
 */
export function bernoulliKl(z: number, r: number): number {
  if (z === r) return 0;
  const [p, rest] = [sigmoid(z), sigmoid(-z)];
  if (Math.abs(z - r) < 0.5 && Math.abs(z) < 300) {
    const away = Math.sinh((r - z) / 2) / (2 * Math.cosh(z / 2) * Math.cosh(r / 2));
    return -p * Math.log1p(away / p) - rest * Math.log1p(-away / rest);
  }
  const logRatio = (sign: number) => logSigmoid(sign * z) - logSigmoid(sign * r);
  return times(p, logRatio(1)) + times(rest, logRatio(-1));
}

/** Edges with one logit each, z = logit / temperature. */
export interface BernoulliEdges {
  logits: ArrayLike<number>;
  actions: ArrayLike<number>;
  refLogits?: ArrayLike<number> | null;
  mask?: ArrayLike<number> | null;
  temperature?: number;
}

export interface BernoulliValues {
  logProb: Float64Array;
  entropy: Float64Array;
  /** Zeros without a reference. */
  kl: Float64Array;
}

function zeros(count: number): BernoulliValues {
  const make = () => new Float64Array(count);
  return { logProb: make(), entropy: make(), kl: make() };
}

/** Zeros at masked edges. */
export function bernoulli(edges: BernoulliEdges): BernoulliValues {
  const { logits, temperature = 1 } = edges;
  const out = zeros(logits.length);
  for (let e = 0; e < logits.length; ++e) {
    if (edges.mask?.[e] === 0) continue;
    const z = logits[e]! / temperature;
    out.logProb[e] = logSigmoid(edges.actions[e] === 1 ? z : -z);
    out.entropy[e] = bernoulliEntropy(z);
    if (edges.refLogits) out.kl[e] = bernoulliKl(z, edges.refLogits[e]! / temperature);
  }
  return out;
}

/**
 * Parts of d (sum_e dLogProb logProb + dEntropy entropy + dKl kl) / d logits, by what they come
 * through: d logProb / d z = action - p, d entropy / d z = -z p (1 - p), d kl / d z = (z - r) p (1 - p).
 */
export function bernoulliGradient(
  edges: BernoulliEdges,
  upstream: { dLogProb: ArrayLike<number>; dEntropy: ArrayLike<number>; dKl: ArrayLike<number> },
): BernoulliValues {
  const { logits, temperature = 1 } = edges;
  const out = zeros(logits.length);
  for (let e = 0; e < logits.length; ++e) {
    if (edges.mask?.[e] === 0) continue;
    const z = logits[e]! / temperature;
    const variance = sigmoid(z) * sigmoid(-z);
    const toAction = edges.actions[e] === 1 ? sigmoid(-z) : -sigmoid(z);
    out.logProb[e] = (upstream.dLogProb[e]! * toAction) / temperature;
    out.entropy[e] = (upstream.dEntropy[e]! * -times(variance, z)) / temperature;
    const distance = edges.refLogits ? z - edges.refLogits[e]! / temperature : 0;
    out.kl[e] = (upstream.dKl[e]! * times(variance, distance)) / temperature;
  }
  return out;
}
