import { klEstimate } from "./kl.js";
import { advantageOf, Ragged, type SurrogateTokens, tokenShares } from "./surrogateBatch.js";
import { formLoss, shapedLoss } from "./surrogateForms.js";
import { limitsOf, ratiosOf, type TokenRatio, unitsOf } from "./surrogateRatio.js";
import { droppedTokens, mismatchWeights } from "./surrogateSampler.js";
import type { SurrogateSetting } from "./surrogateSetting.js";

export type { SurrogateTokens } from "./surrogateBatch.js";

export interface SurrogateValues {
  loss: number;
  policyLoss: number;
  klLoss: number;
  entropyLoss: number;
  dLogProb: Float64Array;
  dEntropy: Float64Array;
  dRatioBias: Float64Array;
  mismatchWeight: Float64Array;
  /** rho as each token's loss used it; 0 on masked ones. */
  ratio: Float64Array;
  /** Tokens whose policy loss offPolicyThreshold drops. */
  dropped: ReadonlySet<number>;
  /**
   * What rounding is relative to: the sum of the absolute terms of the loss and of each gradient, each
   * times its form's condition in rho.
   */
  magnitude: { loss: number; dLogProb: Float64Array; dRatioBias: Float64Array };
}

/** A loss, its derivative by log rho and the one by the token's own log-prob. */
interface Term {
  loss: number;
  pull: number;
  direct: number;
  condition: number;
}

const nothing: Term = { loss: 0, pull: 0, direct: 0, condition: 1 };

/** A token's policy loss, before its weights. */
function policyTerm(
  tokens: SurrogateTokens,
  ragged: Ragged,
  t: number,
  { ratio, frozen }: TokenRatio,
  setting: SurrogateSetting,
  base: ArrayLike<number>,
): Term {
  const row = ragged.rowOf[t]!;
  const logProb = tokens.logProb[t]!;
  const advantage = advantageOf(tokens, ragged, t);
  const old = tokens.oldLogProb?.[t] ?? Number.NaN;
  if (tokens.shaped?.[row] === 1) return shapedLoss(logProb, old, advantage, setting);
  const { low, high } = limitsOf(tokens, row, t, setting);
  const frozenDifference = Math.exp(base[t]!) - Math.exp(old);
  return formLoss(
    { logProb, advantage, ratio, frozenRatio: frozen, frozenDifference, low, high },
    setting,
  );
}

/** beta KL, times the ratio where it is asked for. */
function klTerm(
  tokens: SurrogateTokens,
  t: number,
  ratio: number | null,
  { klEstimator = "k3", klClamp, beta }: SurrogateSetting,
  base: ArrayLike<number>,
): Term {
  if (!beta || !tokens.refLogProb) return nothing;
  const [logProb, ref] = [tokens.logProb[t]!, tokens.refLogProb[t]!];
  const { value, gradient } = klEstimate(logProb, ref, klEstimator, klClamp, base[t]!);
  const scale = beta * (ratio ?? 1);
  const loss = scale * value;
  return { loss, pull: ratio === null ? 0 : loss, direct: scale * gradient, condition: 1 };
}

/**
 * Loss, gradients and what they consist of. Masked tokens are left out of everything; a batch without
 * trained tokens gives 0.
 *
 * @param base log-probs that stand wherever a formula holds something constant, sg(.). As a function of
 *   `tokens.logProb` with `base` fixed, the loss has the gradient that is declared: what difference
 *   quotients are taken of.
 */
export function surrogate(
  tokens: SurrogateTokens,
  setting: SurrogateSetting,
  base: ArrayLike<number> = tokens.logProb,
): SurrogateValues {
  const ragged = new Ragged(tokens);
  const shares = tokenShares(tokens, ragged, setting);
  const mismatchWeight = mismatchWeights(tokens, ragged, setting);
  const ratios = ratiosOf(tokens, ragged, setting, base, mismatchWeight);
  const dropped = droppedTokens(tokens, ragged, setting, base);
  const zeros = () => new Float64Array(tokens.logProb.length);
  const out = { policyLoss: 0, klLoss: 0, entropyLoss: 0 };
  const [dLogProb, dEntropy, dRatioBias, ratio] = [zeros(), zeros(), zeros(), zeros()];
  const magnitude = { loss: 0, dLogProb: zeros(), dRatioBias: zeros() };

  for (const unit of unitsOf(ragged, setting.level)) {
    let pull = 0;
    let pullMagnitude = 0;
    for (const t of unit) {
      const own = ratios.get(t)!;
      const shaped = tokens.shaped?.[ragged.rowOf[t]!] === 1;
      // VESPO's ratio contains the mismatch already.
      const corrected = setting.form === "vespo" ? 1 : mismatchWeight[t]!;
      const weight = dropped.has(t) ? 0 : corrected * (tokens.weight?.[t] ?? 1);
      // A weight of 0 leaves the token out, even where its loss is inf.
      const policy = weight === 0 ? nothing : policyTerm(tokens, ragged, t, own, setting, base);
      const kl = klTerm(tokens, t, setting.klRatio && !shaped ? own.ratio : null, setting, base);
      const share = shares[t]!;
      const [policyLoss, klLoss] = [share * weight * policy.loss, share * kl.loss];
      ratio[t] = own.ratio;
      out.policyLoss += policyLoss;
      out.klLoss += klLoss;
      dLogProb[t] = share * (weight * policy.direct + kl.direct);
      pull += share * (weight * policy.pull + kl.pull);

      const sizeOfKl = Math.abs(share);
      const sizeOfPolicy = Math.abs(share * weight) * policy.condition;
      magnitude.loss += sizeOfPolicy * Math.abs(policy.loss) + sizeOfKl * Math.abs(kl.loss);
      magnitude.dLogProb[t] =
        sizeOfPolicy * Math.abs(policy.direct) + sizeOfKl * Math.abs(kl.direct);
      pullMagnitude += sizeOfPolicy * Math.abs(policy.pull) + sizeOfKl * Math.abs(kl.pull);
    }
    for (const t of unit) {
      const { slope } = ratios.get(t)!;
      dRatioBias[t] = pull * slope;
      magnitude.dRatioBias[t] = pullMagnitude * Math.abs(slope);
      dLogProb[t]! += pull * slope;
      magnitude.dLogProb[t]! += pullMagnitude * Math.abs(slope);
    }
  }
  if (tokens.entropy && setting.entropyCoefficient) {
    const trained = ragged.rows.flat();
    const mean = 1 / (setting.entropyDenominator ?? trained.length);
    for (const t of trained) {
      const share = setting.entropyAggregation === "token-mean" ? mean : shares[t]!;
      dEntropy[t] = -setting.entropyCoefficient * share;
      out.entropyLoss += dEntropy[t]! * tokens.entropy[t]!;
      magnitude.loss += Math.abs(dEntropy[t]! * tokens.entropy[t]!);
    }
  }
  const loss = out.policyLoss + out.klLoss + out.entropyLoss;
  return {
    ...out,
    loss,
    dLogProb,
    dEntropy,
    dRatioBias,
    mismatchWeight,
    ratio,
    dropped,
    magnitude,
  };
}
