import type { SurrogateOptions } from "../engine/kernels/surrogateArguments.js";
import { klEstimate } from "./kl.js";
import { advantageOf, Ragged, type SurrogateTokens, sum, tokenShares } from "./surrogateBatch.js";
import { formLoss, shapedLoss } from "./surrogateForms.js";
import { limitsOf, ratiosOf, type TokenRatio, unitsOf } from "./surrogateRatio.js";
import { droppedTokens, mismatchWeights } from "./surrogateSampler.js";

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

/** A loss with its derivatives by log rho and by the token's own log-prob; absolute terms beside. */
interface Term {
  loss: number;
  pull: number;
  direct: number;
  magnitude: { loss: number; pull: number; direct: number };
}

function term(
  share: number,
  parts: { loss: number; pull: number; direct: number },
  condition: number,
): Term {
  // A share of 0 leaves the token out, even where its loss is inf.
  const of = (x: number) => (share === 0 ? 0 : share * x);
  const [loss, pull, direct] = [of(parts.loss), of(parts.pull), of(parts.direct)];
  const size = (x: number) => Math.abs(x) * condition;
  return {
    ...{ loss, pull, direct },
    magnitude: { loss: size(loss), pull: size(pull), direct: size(direct) },
  };
}

function policyTerm(
  tokens: SurrogateTokens,
  ragged: Ragged,
  t: number,
  { ratio, frozen, condition }: TokenRatio,
  share: number,
  setting: SurrogateOptions,
  base: ArrayLike<number>,
): Term {
  const row = ragged.rowOf[t]!;
  const logProb = tokens.logProb[t]!;
  const advantage = advantageOf(tokens, ragged, t);
  const old = tokens.oldLogProb?.[t] ?? Number.NaN;
  if (tokens.shaped?.[row] === 1) {
    return term(share, shapedLoss(logProb, old, advantage, setting), 1);
  }
  const difference = Math.exp(base[t]!) - Math.exp(old);
  const policy = formLoss(
    {
      ...{ logProb, advantage, ratio, frozenRatio: frozen, frozenDifference: difference },
      ...limitsOf(tokens, row, t, setting),
    },
    setting,
  );
  return term(share, policy, policy.condition * condition);
}

function klTerm(
  tokens: SurrogateTokens,
  t: number,
  { ratio, condition }: TokenRatio,
  share: number,
  { klEstimator = "k3", klClamp, klRatio, beta }: SurrogateOptions,
  base: ArrayLike<number>,
): Term {
  if (!beta || !tokens.refLogProb) return term(0, { loss: 0, pull: 0, direct: 0 }, 1);
  const [logProb, ref] = [tokens.logProb[t]!, tokens.refLogProb[t]!];
  const { value, gradient } = klEstimate(logProb, ref, klEstimator, klClamp, base[t]!);
  const scale = share * beta * (klRatio ? ratio : 1);
  return term(scale, { loss: value, pull: klRatio ? value : 0, direct: gradient }, condition);
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
  setting: SurrogateOptions,
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
    const terms = unit.map((t) => {
      const own = ratios.get(t)!;
      // VESPO's ratio contains the mismatch already.
      const corrected = setting.form === "vespo" ? 1 : mismatchWeight[t]!;
      const weight = dropped.has(t) ? 0 : corrected * (tokens.weight?.[t] ?? 1);
      const policy = policyTerm(tokens, ragged, t, own, shares[t]! * weight, setting, base);
      const shaped = tokens.shaped?.[ragged.rowOf[t]!] === 1;
      const withKl = shaped ? { ...setting, klRatio: false } : setting;
      const kl = klTerm(tokens, t, own, shares[t]!, withKl, base);
      ratio[t] = own.ratio;
      out.policyLoss += policy.loss;
      out.klLoss += kl.loss;
      magnitude.loss += policy.magnitude.loss + kl.magnitude.loss;
      return [policy, kl];
    });
    const all = terms.flat();
    const pull = sum(all.map((x) => x.pull));
    const pullMagnitude = sum(all.map((x) => x.magnitude.pull));
    for (const [i, t] of unit.entries()) {
      const { slope } = ratios.get(t)!;
      dRatioBias[t] = pull * slope;
      magnitude.dRatioBias[t] = pullMagnitude * slope;
      dLogProb[t] = sum(terms[i]!.map((x) => x.direct)) + pull * slope;
      magnitude.dLogProb[t] = sum(terms[i]!.map((x) => x.magnitude.direct)) + pullMagnitude * slope;
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
