import {
  distribution,
  type LogProbRows,
  type LogProbs,
  logProb,
  logProbGradient,
} from "./logProb.js";
import { matmul } from "./matmul.js";

/** Rows of hidden states under a linear head, row-major, already widened to numbers. */
export interface LinearHead {
  /** [T, H] */
  hidden: ArrayLike<number>;
  /** [V, H] */
  weight: ArrayLike<number>;
  /** H */
  width: number;
  targets: ArrayLike<number>;
  /** Divides the logits, all or each row's; default 1. */
  temperature?: number | ArrayLike<number>;
  /** 0 = the row is not trained: outputs and gradient are 0 and nothing of it is read. */
  mask?: ArrayLike<number> | null;
}

/** All logits, hidden weight^T, with what belongs to them. */
export function headRows(head: LinearHead): LogProbRows {
  const { hidden, weight, width, targets, temperature, mask } = head;
  const [m, n] = [targets.length, weight.length / width];
  const logits = matmul(hidden, weight, { m, n, k: width, transposeB: true });
  return { logits, vocab: n, targets, temperature, mask };
}

/**
 * log softmax(hidden weight^T / temperature)[target], entropy and vocabulary mean of every row; NaN where
 * undefined.
 */
export function linearLogProb(head: LinearHead): LogProbs {
  return logProb(headRows(head));
}

/**
 * d (sum_t dLogProb[t] logProb[t] + dEntropy[t] entropy[t] + dVocabMean[t] vocabMean[t]) / d hidden,
 * [T, H], and / d weight, [V, H].
 */
export function linearLogProbGradient(
  head: LinearHead,
  dLogProb: ArrayLike<number> | null,
  dEntropy: ArrayLike<number> | null = null,
  dVocabMean: ArrayLike<number> | null = null,
): { dHidden: Float64Array; dWeight: Float64Array } {
  const { hidden, weight, width } = head;
  const rows = headRows(head);
  const dLogits = logProbGradient(rows, dLogProb, dEntropy, dVocabMean);
  const dHidden = new Float64Array(hidden.length);
  const dWeight = new Float64Array(weight.length);
  for (let t = 0; t < rows.targets.length; ++t) {
    // What stands in a row without a gradient may be NaN.
    if (head.mask?.[t] === 0 || distribution(rows, t).p === null) continue;
    for (let v = 0; v < rows.vocab; ++v) {
      const g = dLogits[t * rows.vocab + v]!;
      for (let p = 0; p < width; ++p) {
        dHidden[t * width + p]! += g * weight[v * width + p]!;
        dWeight[v * width + p]! += g * hidden[t * width + p]!;
      }
    }
  }
  return { dHidden, dWeight };
}
