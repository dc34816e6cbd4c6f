import { advantageOf, type Ragged, type SurrogateTokens, sum } from "./surrogateBatch.js";
import type { SurrogateSetting } from "./surrogateSetting.js";

/**
 * What corrects the policy loss for a sampler that was not the old policy: by token, w = p_old / p_sampler
 * or its row's product; truncated importance sampling (verl), masked (IcePop, TRL). 1 in shaped rows.
 */
export function mismatchWeights(
  tokens: SurrogateTokens,
  { rows }: Ragged,
  setting: SurrogateSetting,
): Float64Array {
  const { oldLogProb, samplerLogProb } = tokens;
  const kind = setting.mismatch ?? "none";
  const low = setting.mismatchLow ?? 0;
  const high = setting.mismatchHigh ?? Math.max(low, kind.endsWith("truncate") ? 2 : 3);
  const truncate = (w: number) => Math.max(low, Math.min(w, high));
  const masked = (w: number, judged = w) => (low <= judged && judged <= high ? w : 0);
  const out = new Float64Array(tokens.logProb.length);
  for (const [r, row] of rows.entries()) {
    const corrected = kind !== "none" && tokens.shaped?.[r] !== 1;
    const logs = row.map((t) => (corrected ? oldLogProb![t]! - samplerLogProb![t]! : 0));
    const product = Math.exp(sum(logs));
    const mean = Math.exp(sum(logs) / logs.length);
    for (const [i, t] of row.entries()) {
      const own = Math.exp(logs[i]!);
      const weight = {
        none: 1,
        "token-truncate": truncate(own),
        "token-mask": masked(own),
        "sequence-truncate": truncate(product),
        "sequence-mask": masked(product),
        "geometric-mask": masked(own, mean),
      }[kind];
      out[t] = corrected ? weight : 1;
    }
  }
  return out;
}

/**
 * Tokens with a negative advantage in rows whose policy has moved too far from the sampler, or from the
 * old policy where none is given (TRL off_policy_mask_threshold).
 */
export function droppedTokens(
  tokens: SurrogateTokens,
  ragged: Ragged,
  setting: SurrogateSetting,
  base: ArrayLike<number>,
): Set<number> {
  const { offPolicyThreshold: threshold = Number.POSITIVE_INFINITY } = setting;
  const sampled = tokens.samplerLogProb ?? tokens.oldLogProb;
  const far = ragged.rows.filter((row, r) => {
    if (threshold === Number.POSITIVE_INFINITY || tokens.shaped?.[r] === 1) return false;
    return sum(row.map((t) => sampled![t]! - base[t]!)) / row.length > threshold;
  });
  return new Set(far.flat().filter((t) => advantageOf(tokens, ragged, t) < 0));
}
