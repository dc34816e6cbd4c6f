import type { TensorLike } from "../engine.js";
import type { Out } from "../inputs.js";
import type { OffsetsLike } from "../offsets.js";
import type { Tensor } from "../tensor.js";
import type { Aggregation, Form, KlEstimator, Level, Mismatch } from "./surrogateTable.js";

/** Limits of the form in the place of epsilon, each f32; inclusive, as the form reads them. */
export interface SurrogateLimits {
  low: TensorLike;
  high: TensorLike;
}

/** T tokens of R rows; S segments, G groups. Log-probs are f32 [T]. */
export interface SurrogateInputs {
  /** Under the policy being trained. */
  logProb: TensorLike;
  /** Under the policy that the step started from; level "none" does without, mostly. */
  oldLogProb?: TensorLike | null;
  /** Under the reference policy. */
  refLogProb?: TensorLike | null;
  /** Under the policy that sampled, for mismatch, offPolicyThreshold and metrics. */
  samplerLogProb?: TensorLike | null;
  /** f32 [R]: one a row. Or one of the next two. */
  advantage?: TensorLike | null;
  /** f32 [S]: one a segment, at level "segment". */
  segmentAdvantage?: TensorLike | null;
  /** f32 [T]: one a token. */
  tokenAdvantage?: TensorLike | null;
  /** f32 [T]: multiplies the policy loss, not the KL. */
  weight?: TensorLike | null;
  /** [R] each, or `tokenLimits`: instead of epsilon. */
  rowLimits?: SurrogateLimits | null;
  /** [T] each. */
  tokenLimits?: SurrogateLimits | null;
  /** f32 [T] both: the log-ratio is ratioScale (logProb - oldLogProb + ratioBias) (GRPO-Guard). */
  ratioScale?: TensorLike | null;
  ratioBias?: TensorLike | null;
  /** f32 [T]: of the policy at each token, for the entropy bonus and its metric. */
  entropy?: TensorLike | null;
  /** f32 [G]: for aggregation "group-weighted"; default 1. */
  groupWeight?: TensorLike | null;
  /** u8 [R]: 1 = the row's loss is -A p / (p + shapeGamma), whatever the form. */
  shaped?: TensorLike | null;
  /** u8 [T]: 1 = trained. */
  mask?: TensorLike | null;
  /** `[R + 1]`: row r holds tokens `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
  /** [S + 1] over all tokens, each segment inside one row; for level "segment". */
  segmentOffsets?: OffsetsLike | null;
  /** [G + 1] over all rows; for the aggregations "balanced" and "group-weighted". */
  groupOffsets?: OffsetsLike | null;
}

/** What `surrogate` makes. T tokens. */
export interface SurrogateResult {
  /** f64 [1]: to be minimised. */
  loss: Tensor;
  /** f32 [T]: d loss / d logProb. */
  dLogProb: Tensor;
  /** f32 [T]: d loss / d entropy; null without `entropy`. */
  dEntropy: Tensor | null;
  /** f32 [T]: d loss / d ratioBias; null without it. */
  dRatioBias: Tensor | null;
  /** f32 [T]: what the policy loss was multiplied by, 0 on masked tokens; null without `mismatch`. */
  mismatchWeight: Tensor | null;
  /** f64, in the order of `surrogateMetrics`. */
  metrics: Tensor;
}

/**
 * Every option is refused where it does not apply: with another form, without the input that it is
 * about, beside an option that takes its place.
 */
export interface SurrogateOptions {
  /** What the ratio is taken over; default "token". */
  level?: Level;
  /** Default "clip": -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilonHigh) A). */
  form?: Form;
  /**
   * Lower clip distance; >= 0. Of the ratio (clip, cispo; default 0.2), the log-ratio (gmpo; 0.4) or
   * the probability (dppo-tv; 0.2).
   */
  epsilon?: number;
  /** Upper clip distance; >= 0, default `epsilon`. */
  epsilonHigh?: number;
  /** The limits themselves, [low, high], instead of distances; TRL's CISPO is [0, 5]. */
  clipRange?: readonly [number, number];
  /** clip: caps the ratio of the unclipped arm (TRL; sensible above the upper limit); > 0. Default none. */
  delta?: number;
  /** clip: for A < 0 the loss is at most -dualClip A (verl clip_ratio_c); > 0. Default none. */
  dualClip?: number;
  /** sapo: temperature where A > 0; > 0, default 1. */
  tauPositive?: number;
  /** sapo: temperature where A < 0; > 0, default 1.05. */
  tauNegative?: number;
  /** dppo-tv: the greatest ratio a token counts with; > 0, default 20. */
  ratioCap?: number;
  /** vespo: exponent k where A >= 0; >= 0, default 2. */
  kPositive?: number;
  /** vespo: lambda where A >= 0; >= 0, default 3. */
  lambdaPositive?: number;
  /** vespo: exponent k where A < 0; >= 0, default 3. */
  kNegative?: number;
  /** vespo: lambda where A < 0; >= 0, default 2. */
  lambdaNegative?: number;
  /**
   * Clamps every token's log-ratio to [low, high] (verl: [-20, 20]), with gradient 0 outside;
   * low <= 0 <= high, low may be -Infinity. Default none.
   */
  logRatioClamp?: readonly [number, number];
  /** Of shaped rows, -A p / (p + shapeGamma); > 0, default 0.1. */
  shapeGamma?: number;
  /** What stands in the denominator of shaped rows: p ("current", default; LUFFY) or p_old ("old"). */
  shapeBase?: "current" | "old";
  /** KL coefficient; >= 0, default 0. Needs `refLogProb` when > 0. */
  beta?: number;
  /** Default "k3" (Schulman 2020); "k3+" has k3's value and k2's gradient (verl). */
  klEstimator?: KlEstimator;
  /** Multiplies the KL by the ratio, with gradient through it (TRL use_bias_correction_kl). Default false. */
  klRatio?: boolean;
  /** Clamps |refLogProb - logProb| and |estimate|, with gradient 0 outside (verl: 20, 10); > 0. Default none. */
  klClamp?: { readonly difference?: number; readonly value?: number };
  /** Correction for a sampler that differs from the old policy; default "none". */
  mismatch?: Mismatch;
  /** Least weight of a mismatch correction; >= 0, default 0. */
  mismatchLow?: number;
  /** Greatest weight; >= mismatchLow, default 2 where it truncates (verl), 3 where it masks (TRL). */
  mismatchHigh?: number;
  /**
   * Drops the policy loss of rows with A < 0 where the mean of samplerLogProb - logProb (without a
   * sampler oldLogProb - logProb) is greater (TRL off_policy_mask_threshold). Default none.
   */
  offPolicyThreshold?: number;
  aggregation: Aggregation;
  /**
   * Divides the sum: trained tokens (token-mean), rows (seq-mean-*), groups (balanced,
   * group-weighted); > 0. Counted from mask and offsets unless given; give the whole optimiser step's
   * count to micro-batches.
   */
  denominator?: number;
  /** For "seq-mean-token-sum-norm": each row's sum is divided by it; > 0. */
  horizon?: number;
  /** Whether rows without a trained token count in a mean over rows; default "skip". */
  emptyRows?: "skip" | "count";
  /** The mean entropy times it is subtracted from the loss; default 0. Else needs `entropy`. */
  entropyCoefficient?: number;
  /** How entropies become one number: as the losses ("loss", default) or as a token mean. */
  entropyAggregation?: "loss" | "token-mean";
  /** Divides the entropies of a token mean; > 0. Default: the trained tokens. */
  entropyDenominator?: number;
}

export interface SurrogateCallOptions extends SurrogateOptions {
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<SurrogateResult>;
}
