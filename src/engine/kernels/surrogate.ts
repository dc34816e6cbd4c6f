import { checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import { type Offsets, offsetValues, withOffsets, withOptionalOffsets } from "../offsets.js";
import type { SurrogateInputs, SurrogateOptions, SurrogateResult } from "./surrogateArguments.js";
import {
  advantageInputs,
  advantages,
  aggregations,
  forms,
  klEstimators,
  levels,
  mismatches,
} from "./surrogateTable.js";
import { type ResolvedSurrogate, resolveSurrogate } from "./surrogateValidation.js";

/** What `metrics` holds, in order: float64 sums and extremes over the trained tokens of the call. */
export const surrogateMetrics = [
  /** The trained tokens and the rows that have one. */
  "trainedTokens",
  "activeRows",
  /** The parts of `loss`, as aggregated. */
  "policyLoss",
  "klLoss",
  "entropyLoss",
  /** Of the KL estimate, and of the entropies given. */
  "klSum",
  "entropySum",
  /** What the rest is over: trained tokens without faults and shaped rows, and their rows. */
  "ratioTokens",
  "ratioRows",
  /** Tokens beyond the lower limit with A < 0 and beyond the upper one with A > 0 (dppo-tv: dropped). */
  "clippedLow",
  "clippedHigh",
  /** Over rows: the sums, the least and the greatest of a row's share of such tokens. */
  "clippedLowRows",
  "clippedHighRows",
  "clippedLowRowMin",
  "clippedHighRowMax",
  /** Of rho as the loss used it. */
  "ratioSum",
  "ratioMin",
  "ratioMax",
  /** Sum of x^2 / 2, x being a token's log-ratio. */
  "logRatioSquared",
  /** Tokens whose log-ratio was clamped. */
  "clampedRatios",
  /** Of the mismatch weights, 1 where there is no correction; tokens whose weight was changed. */
  "mismatchSum",
  "mismatchMin",
  "mismatchMax",
  "mismatchChanged",
  /** Of |oldLogProb - samplerLogProb|; 0 and -inf where one is not given. */
  "samplerDifferenceSum",
  "samplerDifferenceMax",
  /** Rows in which offPolicyThreshold dropped a token's policy loss. */
  "droppedRows",
] as const;
export type SurrogateMetric = (typeof surrogateMetrics)[number];

/** @internal */
export const inputNames: readonly (keyof SurrogateInputs)[] = [
  ...(["logProb", "oldLogProb", "refLogProb", "samplerLogProb"] as const),
  ...(["advantage", "segmentAdvantage", "tokenAdvantage", "weight"] as const),
  ...(["rowLimits", "tokenLimits", "ratioScale", "ratioBias"] as const),
  ...(["entropy", "groupWeight", "shaped", "mask"] as const),
  ...(["rowOffsets", "segmentOffsets", "groupOffsets"] as const),
];

/**
 * Policy-gradient loss with its gradient and metrics, over ragged rows: every form, level, KL
 * estimator, sampler correction and aggregation of `surrogateTable`. Masked tokens change nothing,
 * whatever stands there; an all-masked batch gives loss 0 and gradient 0. A trained token with NaN in an
 * input is reported and contributes nothing; where its unit shares one ratio, neither does the unit.
 *
 * Sources by form and level in `surrogateTable`; KL estimators Schulman 2020; aggregations as in verl.
 *
 * @example
 * const { loss, dLogProb } = surrogate(
 *   engine,
 *   { logProb, oldLogProb, advantage, mask, rowOffsets },
 *   { level: "sequence", epsilon: 3e-4, epsilonHigh: 4e-4, aggregation: "seq-mean-token-mean" },
 * );
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function surrogate(
  engine: Engine,
  args: SurrogateInputs,
  options: SurrogateOptions,
): SurrogateResult {
  checkKeys("inputs", args, inputNames);
  const given = { ...args }; // read once
  const o = resolveSurrogate({ ...given }, options);
  const { rowOffsets, segmentOffsets, groupOffsets } = given;
  return withOffsets(engine, "rowOffsets", rowOffsets, (rows, rowsHandle) =>
    withOptionalOffsets(engine, "segmentOffsets", segmentOffsets, (segments, segmentsHandle) =>
      withOptionalOffsets(engine, "groupOffsets", groupOffsets, (groups, groupsHandle) => {
        if (segments !== null) checkSegments(segments, rows);
        if (groups !== null) checkGroups(groups, rows);
        const bounds = { rows, segments: segments?.rows ?? 0, groups: groups?.rows ?? 0 };
        return withInputs(engine, (inputs) => {
          const tensors = inputTensors(inputs, given, bounds, o);
          const tokens = rows.total;
          const out = surrogateOutputs(engine, tokens, o, tensors.ratioBias !== null);
          engine.addon.surrogate(
            engine.handle,
            tokens,
            rows.rows,
            bounds.segments,
            bounds.groups,
            ...nativeScalars(o),
            rowsHandle,
            segmentsHandle,
            groupsHandle,
            ...Object.values(tensors).map(handle),
            ...Object.values(out).map(handle),
          );
          return out;
        });
      }),
    ),
  );
}

/** @internal Allocates what the call gives back, in the order of SurrogateArgs. */
export function surrogateOutputs(
  engine: Engine,
  tokens: number,
  o: ResolvedSurrogate,
  biased: boolean,
): SurrogateResult {
  return {
    loss: engine.empty([1], "f64"),
    dLogProb: engine.empty([tokens]),
    dEntropy: o.noEntropy === null ? engine.empty([tokens]) : null,
    dRatioBias: biased ? engine.empty([tokens]) : null,
    mismatchWeight: o.mismatch === "none" ? null : engine.empty([tokens]),
    metrics: engine.empty([surrogateMetrics.length], "f64"),
  };
}

/** @internal Groups are of rows, of all of them. */
export function checkGroups(groups: Offsets, rows: Offsets): void {
  if (groups.total === rows.rows) return;
  const expected = `offsets that end at ${rows.rows} (rows)`;
  throw invalid("ERR_SHAPE", "groupOffsets", expected, groups.total);
}

/** Every row's bounds are bounds of segments, so that none reaches over two rows. */
function checkSegments(segments: Offsets, rows: Offsets): void {
  if (segments.total !== rows.total) {
    const expected = `offsets that end at ${rows.total} (tokens)`;
    throw invalid("ERR_SHAPE", "segmentOffsets", expected, segments.total);
  }
  const bounds = new Set(offsetValues(segments));
  const torn = offsetValues(rows).find((bound) => !bounds.has(bound));
  if (torn === undefined) return;
  const expected = `a bound at ${torn}, where a row ends,`;
  throw invalid("ERR_RANGE", "segmentOffsets", expected, "a segment across it");
}

/** @internal In the order of SurrogateArgs (native/kernels/surrogate/surrogate.h). */
export function inputTensors(
  inputs: Inputs,
  given: SurrogateInputs,
  bounds: { rows: Offsets; segments: number; groups: number },
  o: ResolvedSurrogate,
) {
  const { rows: R, total: T } = bounds.rows;
  const perToken = (name: keyof SurrogateInputs) =>
    inputs.optional(name, given[name] as TensorLike | null | undefined, "f32", [T]);
  const advantage = advantageInputs[o.advantage];
  const units = { row: R, segment: bounds.segments, token: T }[o.advantage];
  const limits = limitTensors(inputs, given, R, T);
  return {
    logProb: inputs.tensor("logProb", given.logProb, "f32", [T]),
    oldLogProb: perToken("oldLogProb"),
    refLogProb: perToken("refLogProb"),
    samplerLogProb: perToken("samplerLogProb"),
    advantage: inputs.tensor(advantage, given[advantage]!, "f32", [units]),
    weight: perToken("weight"),
    low: limits?.low ?? null,
    high: limits?.high ?? null,
    ratioScale: perToken("ratioScale"),
    ratioBias: perToken("ratioBias"),
    entropy: perToken("entropy"),
    groupWeight: inputs.optional("groupWeight", given.groupWeight, "f32", [bounds.groups]),
    shaped: inputs.optional("shaped", given.shaped, "u8", [R]),
    mask: inputs.optional("mask", given.mask, "u8", [T]),
  };
}

function limitTensors(inputs: Inputs, given: SurrogateInputs, rows: number, tokens: number) {
  const name = given.rowLimits == null ? "tokenLimits" : "rowLimits";
  const value = given[name];
  if (value === null || value === undefined) return null;
  checkKeys(name, value, ["low", "high"]);
  const { low, high } = value;
  const shape = [name === "rowLimits" ? rows : tokens];
  return {
    low: inputs.tensor(`${name}.low`, low, "f32", shape),
    high: inputs.tensor(`${name}.high`, high, "f32", shape),
  };
}

const numberOf = (table: object, choice: string) => Object.keys(table).indexOf(choice);

/** @internal In the order of SurrogateArgs and, within it, SurrogateTerms (native/kernels/surrogate). */
export function nativeScalars(o: ResolvedSurrogate): (number | boolean)[] {
  return [
    numberOf(forms, o.form),
    numberOf(levels, o.level),
    o.low,
    o.high,
    o.delta,
    o.dualClip,
    o.tauPositive,
    o.tauNegative,
    o.ratioCap,
    o.kPositive,
    o.lambdaPositive,
    o.kNegative,
    o.lambdaNegative,
    o.logRatio.low,
    o.logRatio.high,
    o.shapeGamma,
    o.shapeByOld,
    o.beta,
    numberOf(klEstimators, o.klEstimator),
    o.klRatio,
    o.klDifference,
    o.klValue,
    numberOf(mismatches, o.mismatch),
    o.mismatchLow,
    o.mismatchHigh,
    o.offPolicyThreshold,
    numberOf(advantages, o.advantage),
    o.limitsPerRow,
    numberOf(aggregations, o.aggregation),
    o.countEmptyRows,
    o.denominator,
    o.horizon,
    o.entropyCoefficient,
    o.entropyAggregation === "token-mean",
    o.entropyDenominator,
  ];
}
