import type { KlClamp, KlEstimator } from "./kl.js";

/**
 * The choices of a surrogate and their numbers, named as the kernel's options; what is left out has the
 * kernel's default, stated where a formula reads it.
 */
export interface SurrogateSetting {
  readonly level?:
    | ("token" | "segment" | "sequence" | "sequence-product")
    | ("sequence-token" | "none");
  readonly form?:
    | ("clip" | "unclipped" | "reinforce" | "cispo")
    | ("sapo" | "gmpo" | "dppo-tv" | "vespo");
  readonly epsilon?: number;
  readonly epsilonHigh?: number;
  readonly clipRange?: readonly [number, number];
  readonly delta?: number;
  readonly dualClip?: number;
  readonly tauPositive?: number;
  readonly tauNegative?: number;
  readonly ratioCap?: number;
  readonly kPositive?: number;
  readonly lambdaPositive?: number;
  readonly kNegative?: number;
  readonly lambdaNegative?: number;
  readonly logRatioClamp?: readonly [number, number];
  readonly shapeGamma?: number;
  readonly shapeBase?: "current" | "old";
  readonly beta?: number;
  readonly klEstimator?: KlEstimator;
  readonly klRatio?: boolean;
  readonly klClamp?: KlClamp;
  readonly mismatch?:
    | ("none" | "token-truncate" | "token-mask")
    | ("sequence-truncate" | "sequence-mask" | "geometric-mask");
  readonly mismatchLow?: number;
  readonly mismatchHigh?: number;
  readonly offPolicyThreshold?: number;
  readonly aggregation:
    | ("token-mean" | "token-sum" | "seq-mean-token-mean" | "seq-mean-token-sum")
    | ("seq-mean-token-sum-norm" | "balanced" | "group-weighted");
  readonly denominator?: number;
  readonly horizon?: number;
  readonly emptyRows?: "skip" | "count";
  readonly entropyCoefficient?: number;
  readonly entropyAggregation?: "loss" | "token-mean";
  readonly entropyDenominator?: number;
}
