import type { SurrogateSetting } from "./surrogateSetting.js";

/** What a token's loss depends on. `frozen` values stand wherever a formula says sg(.). */
export interface FormInputs {
  logProb: number;
  advantage: number;
  /** rho, and as it was at the base point. */
  ratio: number;
  frozenRatio: number;
  /** p - p_old at the base point. */
  frozenDifference: number;
  low: number;
  high: number;
}

/** A token's loss, its derivative by log rho and the one by its own log-prob. */
export interface FormLoss {
  loss: number;
  pull: number;
  direct: number;
  /** A bound of how much a relative error of rho is magnified in them. */
  condition: number;
}

const clip = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/**
 * -min(min(rho, delta) A, clip(rho, low, high) A), for A < 0 at most -dualClip A. The gradient -A rho
 * passes where the loss depends on rho, bounds included.
 * PPO (Schulman et al. 2017, eq. 7); dual clip Ye et al. 2020, eq. 5; delta as in TRL.
 */
function clipped({ ratio, advantage, low, high }: FormInputs, setting: SurrogateSetting): FormLoss {
  const { delta = Number.POSITIVE_INFINITY, dualClip = Number.POSITIVE_INFINITY } = setting;
  const free = -Math.min(ratio, delta) * advantage;
  const bounded = -clip(ratio, low, high) * advantage;
  const cap = advantage < 0 ? -dualClip * advantage : Number.POSITIVE_INFINITY;
  const uncapped = Math.max(free, bounded);
  const follows = free >= bounded ? ratio <= delta : low <= ratio && ratio <= high;
  const pull = follows && uncapped <= cap ? -advantage * ratio : 0;
  return { loss: Math.min(uncapped, cap), pull, direct: 0, condition: 1 };
}

/** -A (4 / tau) sigmoid(tau (rho - 1)) (SAPO, Gao et al. 2025); tau by the sign of A. */
function soft({ ratio, advantage }: FormInputs, setting: SurrogateSetting): FormLoss {
  const { tauPositive = 1, tauNegative = 1.05 } = setting;
  const tau = advantage > 0 ? tauPositive : tauNegative;
  const gate = sigmoid(tau * (ratio - 1));
  const shut = sigmoid(-tau * (ratio - 1)); // 1 - gate, without its cancellation
  return {
    loss: ((-advantage * 4) / tau) * gate,
    pull: -advantage * ratio * 4 * gate * shut,
    direct: 0,
    condition: 1 + tau * ratio,
  };
}

/** Weighted log-likelihood -sg(w) A lp. */
function weighted(x: FormInputs, weight: number): FormLoss {
  const direct = -weight * x.advantage;
  return { loss: direct * x.logProb, pull: 0, direct, condition: 1 };
}

/** log phi = lambda + k log rho - lambda rho (VESPO as in TRL); k, lambda by the sign of A. */
function vespo(x: FormInputs, setting: SurrogateSetting): FormLoss {
  const { kPositive = 2, lambdaPositive = 3, kNegative = 3, lambdaNegative = 2 } = setting;
  const [k, lambda] = x.advantage >= 0 ? [kPositive, lambdaPositive] : [kNegative, lambdaNegative];
  const w = x.frozenRatio;
  return weighted(x, Math.exp(lambda + k * Math.log(w) - lambda * w));
}

/** A token's policy loss; 0 where the advantage is. For gmpo `ratio` is the mean of clipped ratios. */
export function formLoss(x: FormInputs, setting: SurrogateSetting): FormLoss {
  if (x.advantage === 0) return { loss: 0, pull: 0, direct: 0, condition: 1 };
  switch (setting.form ?? "clip") {
    case "clip":
      return clipped(x, setting);
    case "unclipped":
    case "gmpo": {
      const loss = -x.ratio * x.advantage;
      return { loss, pull: loss, direct: 0, condition: 1 };
    }
    case "reinforce":
      return weighted(x, 1);
    case "cispo":
      return weighted(x, clip(x.frozenRatio, x.low, x.high));
    case "sapo":
      return soft(x, setting);
    case "dppo-tv": {
      const { low, high, frozenDifference } = x;
      const near = x.advantage > 0 ? frozenDifference <= high : frozenDifference >= low;
      return weighted(x, near ? Math.min(x.frozenRatio, setting.ratioCap ?? 20) : 0);
    }
    case "vespo":
      return vespo(x, setting);
  }
}

/** -A p / (q + gamma), q = p (LUFFY) or p_old (RGR-GRPO): for rows that another policy wrote. */
export function shapedLoss(
  logProb: number,
  oldLogProb: number,
  advantage: number,
  setting: SurrogateSetting,
): FormLoss {
  if (advantage === 0) return { loss: 0, pull: 0, direct: 0, condition: 1 };
  const gamma = setting.shapeGamma ?? 0.1;
  const p = Math.exp(logProb);
  const own = setting.shapeBase !== "old";
  const value = p / ((own ? p : Math.exp(oldLogProb)) + gamma);
  const slope = own ? gamma / (p + gamma) : 1; // d log value / d logProb
  return { loss: -advantage * value, pull: 0, direct: -advantage * value * slope, condition: 1 };
}
