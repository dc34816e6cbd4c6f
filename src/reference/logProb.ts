/** Rows of logits with one target each. T rows of V values, row-major, already widened to numbers. */
export interface LogProbRows {
  logits: ArrayLike<number>;
  vocab: number;
  targets: ArrayLike<number>;
  /** Divides the logits, all or each row's; default 1. */
  temperature?: number | ArrayLike<number>;
  /** 0 = the row is not trained: outputs and gradient are 0 and nothing of it is read. */
  mask?: ArrayLike<number> | null;
}

export interface LogProbs {
  logProb: Float64Array;
  entropy: Float64Array;
  /** Mean of log p over the vocabulary. */
  vocabMean: Float64Array;
}

export interface Distribution {
  /** p over the vocabulary, or null where the row defines none (NaN, +inf, all -inf, wrong id). */
  p: Float64Array | null;
  logP: Float64Array;
  /** In nats. */
  entropy: number;
}

/** What divides the logits of row t. */
export function temperatureOf(
  { temperature = 1 }: Pick<LogProbRows, "temperature">,
  t: number,
): number {
  return typeof temperature === "number" ? temperature : temperature[t]!;
}

/** softmax(logits / temperature) of row t. */
export function distribution(rows: LogProbRows, t: number): Distribution {
  const { vocab } = rows;
  const temperature = temperatureOf(rows, t);
  const target = rows.targets[t]!;
  const logP = new Float64Array(vocab);
  let max = Number.NEGATIVE_INFINITY;
  let defined = target >= 0 && target < vocab && temperature > 0 && Number.isFinite(temperature);
  for (let v = 0; v < vocab; ++v) {
    const z = rows.logits[t * vocab + v]! / temperature;
    if (Number.isNaN(z) || z === Number.POSITIVE_INFINITY) defined = false;
    logP[v] = z;
    if (z > max) max = z;
  }
  if (!defined || max === Number.NEGATIVE_INFINITY) return { p: null, logP, entropy: Number.NaN };
  let sum = 0;
  for (let v = 0; v < vocab; ++v) sum += Math.exp(logP[v]! - max);
  const logSum = Math.log(sum);
  const p = new Float64Array(vocab);
  let entropy = 0;
  for (let v = 0; v < vocab; ++v) {
    logP[v] = logP[v]! - max - logSum;
    p[v] = Math.exp(logP[v]!);
    if (p[v]! > 0) entropy -= p[v]! * logP[v]!;
  }
  return { p, logP, entropy };
}

/**
 * log softmax(logits / temperature)[target], -sum p log p and the mean of log p of every row; NaN where
 * undefined.
 */
export function logProb(rows: LogProbRows): LogProbs {
  const tokens = rows.targets.length;
  const out = {
    logProb: new Float64Array(tokens),
    entropy: new Float64Array(tokens),
    vocabMean: new Float64Array(tokens),
  };
  for (let t = 0; t < tokens; ++t) {
    if (rows.mask?.[t] === 0) continue;
    const { p, logP, entropy } = distribution(rows, t);
    out.logProb[t] = p === null ? Number.NaN : logP[rows.targets[t]!]!;
    out.entropy[t] = entropy;
    out.vocabMean[t] = p === null ? Number.NaN : logP.reduce((a, b) => a + b, 0) / rows.vocab;
  }
  return out;
}

/**
 * d (sum_t dLogProb[t] logProb[t] + dEntropy[t] entropy[t] + dVocabMean[t] vocabMean[t]) / d logits,
 * [T, V]: d logProb / d z_v = 1[v = y] - p_v, d entropy / d z_v = -p_v (log p_v + entropy) and
 * d vocabMean / d z_v = 1 / V - p_v, over temperature. Zeros in masked and undefined rows; where a logit
 * is -inf the mean is -inf whatever the others are, and has no gradient.
 */
export function logProbGradient(
  rows: LogProbRows,
  dLogProb: ArrayLike<number> | null,
  dEntropy: ArrayLike<number> | null = null,
  dVocabMean: ArrayLike<number> | null = null,
): Float64Array {
  const { vocab } = rows;
  const tokens = rows.targets.length;
  const out = new Float64Array(tokens * vocab);
  for (let t = 0; t < tokens; ++t) {
    if (rows.mask?.[t] === 0) continue;
    const { p, logP, entropy } = distribution(rows, t);
    if (p === null) continue;
    const dMean = logP.includes(Number.NEGATIVE_INFINITY) ? 0 : (dVocabMean?.[t] ?? 0);
    const dLog = dLogProb?.[t] ?? 0;
    for (let v = 0; v < vocab; ++v) {
      const hit = v === rows.targets[t] ? 1 : 0;
      let gradient = (hit - p[v]!) * dLog + (1 / vocab - p[v]!) * dMean;
      if (dEntropy !== null && p[v]! > 0) gradient -= p[v]! * (logP[v]! + entropy) * dEntropy[t]!;
      out[t * vocab + v] = gradient / temperatureOf(rows, t);
    }
  }
  return out;
}
