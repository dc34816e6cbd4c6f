export interface RowTokens {
  logProb: ArrayLike<number>;
  baseLogProb?: ArrayLike<number> | null;
  mask?: ArrayLike<number> | null;
  rowOffsets: ArrayLike<number>;
}

export interface RowScoreSetting {
  pooling: "mean" | "sum";
  term: "log-ratio" | "k1" | "k3";
}

function trainedOf(tokens: RowTokens, row: number): number[] {
  const trained: number[] = [];
  for (let t = tokens.rowOffsets[row]!; t < tokens.rowOffsets[row + 1]!; ++t) {
    if (tokens.mask?.[t] !== 0) trained.push(t);
  }
  return trained;
}

const logRatio = (tokens: RowTokens, t: number) =>
  tokens.logProb[t]! - (tokens.baseLogProb?.[t] ?? 0);

/**
 * Mean or sum over a row's trained tokens of x = logProb - baseLogProb, of -x (k1) or of exp(x) - 1 - x
 * (k3; Schulman 2020). Rows without trained tokens score 0. `magnitude`: the same of the absolute values of
 * what is added up.
 */
export function rowScore(
  tokens: RowTokens,
  setting: RowScoreSetting,
): { score: Float64Array; magnitude: Float64Array; trainedTokens: Int32Array } {
  const rows = tokens.rowOffsets.length - 1;
  const out = {
    score: new Float64Array(rows),
    magnitude: new Float64Array(rows),
    trainedTokens: new Int32Array(rows),
  };
  for (let r = 0; r < rows; ++r) {
    const trained = trainedOf(tokens, r);
    const share = setting.pooling === "mean" ? 1 / Math.max(trained.length, 1) : 1;
    out.trainedTokens[r] = trained.length;
    for (const t of trained) {
      const x = logRatio(tokens, t);
      const parts = {
        "log-ratio": [tokens.logProb[t]!, -(tokens.baseLogProb?.[t] ?? 0)],
        k1: [-tokens.logProb[t]!, tokens.baseLogProb?.[t] ?? 0],
        k3: [Math.expm1(x), -x],
      }[setting.term];
      for (const part of parts) {
        out.score[r]! += share * part;
        out.magnitude[r]! += share * Math.abs(part);
      }
    }
  }
  return out;
}

/** Gradient of the sum over rows of dScore times score. */
export function rowScoreGradient(
  tokens: RowTokens,
  setting: RowScoreSetting,
  dScore: ArrayLike<number>,
): Float64Array {
  const gradient = new Float64Array(tokens.logProb.length);
  for (let r = 0; r + 1 < tokens.rowOffsets.length; ++r) {
    const trained = trainedOf(tokens, r);
    const share = setting.pooling === "mean" ? 1 / trained.length : 1;
    for (const t of trained) {
      const slope = { "log-ratio": 1, k1: -1, k3: Math.expm1(logRatio(tokens, t)) }[setting.term];
      gradient[t] = dScore[r]! * share * slope;
    }
  }
  return gradient;
}
