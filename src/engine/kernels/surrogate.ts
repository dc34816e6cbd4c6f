import { checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { FiresteelError } from "../error.js";
import { handle, withInputs } from "../inputs.js";
import { type OffsetsLike, withOffsets } from "../offsets.js";
import type { Tensor } from "../tensor.js";

// The order of each list is the addon's numbering (native/kernels/surrogate/surrogate.h).
export const levels = ["token"] as const;
export const forms = ["clip"] as const;
export const klEstimators = ["k1", "k2", "k3", "abs", "k3+"] as const;
export const aggregations = [
  "token-mean",
  "seq-mean-token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-sum-norm",
  "token-sum",
] as const;

/** What `metrics` holds, in order: float64 sums and extremes over the trained tokens of the call. */
export const surrogateMetrics = [
  "trainedTokens",
  "activeRows",
  "policyLoss",
  "klLoss",
  "klSum",
  "clippedLow",
  "clippedHigh",
  "ratioSum",
  "ratioMin",
  "ratioMax",
  "logRatioSquaredSum",
] as const;

export interface SurrogateOptions {
  /** What the ratio is taken over; default "token". */
  level?: (typeof levels)[number];
  /** Default "clip": -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilonHigh) A). */
  form?: (typeof forms)[number];
  /** Lower clip distance; >= 0, default 0.2. */
  epsilon?: number;
  /** Upper clip distance; default `epsilon`. */
  epsilonHigh?: number;
  /** Two-sided clip (TRL): caps the ratio of the unclipped arm; > 1 + epsilonHigh. Default none. */
  delta?: number;
  /** Dual clip (verl clip_ratio_c): for A < 0 the loss is at most -dualClip A; > 1. Default none. */
  dualClip?: number;
  /** KL coefficient; default 0. Needs `refLogProb` when > 0. */
  beta?: number;
  /** Default "k3" (Schulman 2020); "k3+" has k3's value and k2's gradient (verl). */
  klEstimator?: (typeof klEstimators)[number];
  aggregation: (typeof aggregations)[number];
  /**
   * Divides the sum: trained tokens (token-mean) or rows with a trained token (seq-mean-*). Counted
   * from the mask unless given; give the whole optimiser step's count to micro-batches.
   */
  denominator?: number;
  /** For "seq-mean-token-sum-norm": each row's sum is divided by it (> 0). */
  horizon?: number;
}

export interface SurrogateInputs {
  /** f32 [T]: under the policy being trained. */
  logProb: TensorLike;
  /** f32 [T]: under the policy that the step started from. */
  oldLogProb: TensorLike;
  /** f32 [T]: under the reference policy. */
  refLogProb?: TensorLike | null;
  /** f32 [R]: one a row. Or `tokenAdvantage`. */
  advantage?: TensorLike;
  /** f32 [T]: one a token. */
  tokenAdvantage?: TensorLike;
  /** f32 [T]: multiplies the policy loss, not the KL. */
  weight?: TensorLike | null;
  /** u8 [T]: 1 = trained. */
  mask?: TensorLike | null;
  /** [R + 1]: row r holds tokens `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
}

export interface SurrogateResult {
  /** f64 [1]: to be minimised. */
  loss: Tensor;
  /** f32 [T]: d loss / d logProb. */
  dLogProb: Tensor;
  /** f64 [11], in the order of `surrogateMetrics`. */
  metrics: Tensor;
}

const optionNames = [
  "level",
  "form",
  "epsilon",
  "epsilonHigh",
  "delta",
  "dualClip",
  "beta",
  "klEstimator",
  "aggregation",
  "denominator",
  "horizon",
];

/**
 * Policy-gradient loss with its gradient and metrics, over ragged rows. Masked tokens change nothing,
 * whatever stands there; an all-masked batch gives loss 0 and gradient 0.
 *
 * Source: PPO (Schulman et al. 2017, eq. 7), GRPO (Shao et al. 2024, eq. 3); delta as in TRL, dual
 * clip Ye et al. 2020; KL estimators Schulman 2020.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function surrogate(
  engine: Engine,
  args: SurrogateInputs,
  options: SurrogateOptions,
): SurrogateResult {
  checkKeys("inputs", args, [
    "logProb",
    "oldLogProb",
    "refLogProb",
    "advantage",
    "tokenAdvantage",
    "weight",
    "mask",
    "rowOffsets",
  ]);
  checkKeys("options", options, optionNames);
  const level = levels.indexOf(checkChoice("level", options.level ?? "token", levels));
  const form = forms.indexOf(checkChoice("form", options.form ?? "clip", forms));
  const kl = klEstimators.indexOf(
    checkChoice("klEstimator", options.klEstimator ?? "k3", klEstimators),
  );
  const aggregation = checkChoice("aggregation", options.aggregation, aggregations);
  const epsilonLow = checkNumber("epsilon", options.epsilon ?? 0.2, 0);
  const epsilonHigh = checkNumber("epsilonHigh", options.epsilonHigh ?? epsilonLow, 0);
  const delta =
    options.delta === undefined
      ? Number.POSITIVE_INFINITY
      : checkNumber("delta", options.delta, 1 + epsilonHigh, Number.MAX_VALUE, true);
  const dualClip =
    options.dualClip === undefined
      ? Number.POSITIVE_INFINITY
      : checkNumber("dualClip", options.dualClip, 1, Number.MAX_VALUE, true);
  const beta = checkNumber("beta", options.beta ?? 0, 0);
  const normed = aggregation === "seq-mean-token-sum-norm";
  if (normed !== (options.horizon !== undefined)) {
    const expected = normed ? "a number > 0" : `nothing (aggregation is "${aggregation}")`;
    throw invalid("ERR_OPTION", "horizon", expected, options.horizon);
  }
  const horizon = normed ? checkNumber("horizon", options.horizon, 0, Number.MAX_VALUE, true) : 1;
  const denominator =
    options.denominator === undefined
      ? 0
      : checkNumber("denominator", options.denominator, 0, Number.MAX_VALUE, true);
  const reference = args.refLogProb ?? null;
  if (beta > 0 && reference === null) {
    throw invalid("ERR_OPTION", "refLogProb", "log-probs (beta is above 0)", reference);
  }
  const perToken = args.tokenAdvantage !== undefined;
  if (perToken === (args.advantage !== undefined)) {
    const both = perToken ? "both" : "neither";
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected either advantage or tokenAdvantage but received ${both}`,
    );
  }
  return withOffsets(engine, "rowOffsets", args.rowOffsets, (bounds, boundsHandle) =>
    withInputs(engine, (inputs) => {
      const tokens = bounds.total;
      const logProb = inputs.tensor("logProb", args.logProb, "f32", [tokens]);
      const oldLogProb = inputs.tensor("oldLogProb", args.oldLogProb, "f32", [tokens]);
      const refLogProb = inputs.optional("refLogProb", reference, "f32", [tokens]);
      const advantage = perToken
        ? inputs.tensor("tokenAdvantage", args.tokenAdvantage!, "f32", [tokens])
        : inputs.tensor("advantage", args.advantage!, "f32", [bounds.rows]);
      const weight = inputs.optional("weight", args.weight, "f32", [tokens]);
      const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
      const out = {
        loss: engine.empty([1], "f64"),
        dLogProb: engine.empty([tokens]),
        metrics: engine.empty([surrogateMetrics.length], "f64"),
      };
      engine.addon.surrogate(
        engine.handle,
        tokens,
        bounds.rows,
        level,
        form,
        kl,
        aggregations.indexOf(aggregation),
        epsilonLow,
        epsilonHigh,
        delta,
        dualClip,
        beta,
        denominator,
        horizon,
        perToken,
        boundsHandle,
        handle(logProb),
        handle(oldLogProb),
        handle(refLogProb),
        handle(advantage),
        handle(weight),
        handle(mask),
        handle(out.loss),
        handle(out.dLogProb),
        handle(out.metrics),
      );
      return out;
    }),
  );
}
