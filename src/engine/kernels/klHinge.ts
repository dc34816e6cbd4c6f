import { checkKeys, checkNumber } from "../checks.js";

/** The trust region's size and steepness. */
export interface KlHingeOptions {
  /** Steepness; >= 0, default 1000. */
  beta?: number;
  /** KL up to which nothing happens; >= 0, default 1e-4. */
  delta?: number;
}

/**
 * The trust region of DRPO and DisCO (arXiv 2510.04474): the penalty coefficient * kl, where the
 * coefficient max(beta (kl - delta), 0) is held constant.
 *
 * `kl` is the mean over all trained tokens of the step of an estimate of KL(old || policy): add up the
 * scores of `rowScore` with pooling "sum" and term "k1" (the paper's default) or "k3", the old policy as
 * base, and divide by the trained tokens. The gradient is then `rowScoreBackward` of those scores with
 * coefficient / tokens as the dScore of every row.
 *
 * @example
 * const kl = rowScore(engine, { logProb, baseLogProb: old, mask, rowOffsets }, { pooling: "sum", term: "k1" });
 * const tokens = sum(await kl.trainedTokens.read());
 * const { coefficient, loss } = klHinge(sum(await kl.score.read()) / tokens);
 * const dScore = new Float64Array(rows).fill(coefficient / tokens);
 * const dLogProb = rowScoreBackward(engine, { dScore, tokenWeight: kl.tokenWeight, mask, rowOffsets }, { term: "k1" });
 *
 * @throws FiresteelError ERR_RANGE (NaN too), ERR_OPTION
 */
export function klHinge(
  kl: number,
  options: KlHingeOptions = {},
): { coefficient: number; loss: number } {
  checkKeys("options", options, ["beta", "delta"]);
  const beta = checkNumber("beta", options.beta ?? 1000, 0);
  const delta = checkNumber("delta", options.delta ?? 1e-4, 0);
  checkNumber("kl", kl, -Number.MAX_VALUE);
  const coefficient = Math.max(beta * (kl - delta), 0);
  return { coefficient, loss: coefficient * kl };
}
