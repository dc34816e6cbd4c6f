import { type LogProbRows, logProb, logProbGradient } from "./logProb.js";
import { type SurrogateTokens, type SurrogateValues, surrogate } from "./surrogate.js";
import type { SurrogateSetting } from "./surrogateSetting.js";

export interface TokenLossValues extends SurrogateValues {
  logProb: Float64Array;
  entropy: Float64Array;
  /** [T, V] */
  dLogits: Float64Array;
}

/**
 * The surrogate of the logits' log-probs and entropies, and its gradient with respect to the logits.
 *
 * @param base log-probs that stand wherever a formula holds something constant; default those of the
 *   logits
 */
export function tokenLoss(
  rows: Omit<LogProbRows, "mask">,
  tokens: Omit<SurrogateTokens, "logProb" | "entropy">,
  setting: SurrogateSetting,
  base?: ArrayLike<number>,
): TokenLossValues {
  const read = { ...rows, mask: tokens.mask ?? null };
  const { logProb: own, entropy } = logProb(read);
  const loss = surrogate({ ...tokens, logProb: own, entropy }, setting, base ?? own);
  const dLogits = logProbGradient(read, loss.dLogProb, loss.dEntropy);
  return { ...loss, logProb: own, entropy, dLogits };
}
