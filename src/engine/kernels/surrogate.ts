import type { TensorHandle } from "../addon.js";
import { checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import { type Offsets, offsetValues } from "../offsets.js";
import { Recent } from "../recent.js";
import type { Tensor } from "../tensor.js";
import type {
  SurrogateCallOptions,
  SurrogateInputs,
  SurrogateResult,
} from "./surrogateArguments.js";
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
/** Name of a sum that a surrogate's `metrics` holds. */
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
  options: SurrogateCallOptions,
): SurrogateResult {
  checkKeys("inputs", args, inputNames);
  const given = { ...args }; // read once
  const { o, scalars } = prepare(given, options);
  const { out: results } = options;
  return withInputs(engine, (inputs) => {
    const rows = inputs.offsets("rowOffsets", given.rowOffsets);
    const segments = inputs.optionalOffsets("segmentOffsets", given.segmentOffsets);
    const groups = inputs.optionalOffsets("groupOffsets", given.groupOffsets);
    if (segments !== null) checkSegments(segments, rows);
    if (groups !== null) checkGroups(groups, rows);
    const bounds = { rows, segments: segments?.rows ?? 0, groups: groups?.rows ?? 0 };
    const tokens = rows.total;
    const logProb = inputs.tensor("logProb", given.logProb, "f32", [tokens]);
    const entropy = inputs.optional("entropy", given.entropy, "f32", [tokens]);
    const tensors = lossTensors(inputs, given, bounds, o);
    const specs = resultSpecs(tokens, o, tensors.ratioBias !== null);
    const out: SurrogateResult = inputs.results(results, specs);
    engine.addon.surrogate(
      engine.handle,
      tokens,
      rows.rows,
      bounds.segments,
      bounds.groups,
      scalars,
      handle(rows),
      handle(segments),
      handle(groups),
      handle(logProb),
      handle(tensors.oldLogProb),
      handle(tensors.refLogProb),
      handle(tensors.samplerLogProb),
      handle(tensors.advantage),
      handle(tensors.weight),
      handle(tensors.low),
      handle(tensors.high),
      handle(tensors.ratioScale),
      handle(tensors.ratioBias),
      handle(entropy),
      handle(tensors.groupWeight),
      handle(tensors.shaped),
      handle(tensors.mask),
      handle(out.loss),
      handle(out.dLogProb),
      handle(out.dEntropy),
      handle(out.dRatioBias),
      handle(out.mismatchWeight),
      handle(out.metrics),
    );
    return out;
  });
}

const recent = new Recent<{ o: ResolvedSurrogate; scalars: Float64Array }>(["out"]);

/** Checked options, also as native code takes them. */
function prepare(given: SurrogateInputs, options: SurrogateCallOptions) {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw invalid("ERR_OPTION", "options", "an object", options);
  }
  return recent.of(options, presence(given), (own) => {
    const o = resolveSurrogate({ ...given }, own);
    return { o, scalars: Float64Array.from(nativeScalars(o), Number) };
  });
}

/** Which inputs there are that options are held against: a bit each. */
function presence(given: SurrogateInputs): number {
  const is = (input: unknown, bit: number) => (input == null ? 0 : 1 << bit);
  return (
    is(given.oldLogProb, 0) |
    is(given.refLogProb, 1) |
    is(given.samplerLogProb, 2) |
    is(given.advantage, 3) |
    is(given.segmentAdvantage, 4) |
    is(given.tokenAdvantage, 5) |
    is(given.weight, 6) |
    is(given.rowLimits, 7) |
    is(given.tokenLimits, 8) |
    is(given.ratioScale, 9) |
    is(given.ratioBias, 10) |
    is(given.entropy, 11) |
    is(given.groupWeight, 12) |
    is(given.shaped, 13) |
    is(given.mask, 14) |
    is(given.segmentOffsets, 15) |
    is(given.groupOffsets, 16)
  );
}

/** @internal Groups are of rows, of all of them. */
export function checkGroups(groups: Offsets, rows: Offsets): void {
  if (groups.total === rows.rows) return;
  const expected = `offsets that end at ${rows.rows} (rows)`;
  throw invalid("ERR_SHAPE", "groupOffsets", expected, groups.total);
}

/** @internal What the call gives back. */
export function resultSpecs(tokens: number, o: ResolvedSurrogate, biased: boolean) {
  const each = ["f32", [tokens]] as const;
  return {
    loss: ["f64", [1]],
    dLogProb: each,
    dEntropy: o.noEntropy === null ? each : null,
    dRatioBias: biased ? each : null,
    mismatchWeight: o.mismatch === "none" ? null : each,
    metrics: ["f64", [surrogateMetrics.length]],
  } as const;
}

/** @internal As `surrogate` passes them, for calls long enough to spread arguments: that takes 3 us. */
export function inputHandles(
  t: ReturnType<typeof lossTensors> & { logProb: Tensor; entropy: Tensor | null },
): (TensorHandle | null)[] {
  return [
    handle(t.logProb),
    handle(t.oldLogProb),
    handle(t.refLogProb),
    handle(t.samplerLogProb),
    handle(t.advantage),
    handle(t.weight),
    handle(t.low),
    handle(t.high),
    handle(t.ratioScale),
    handle(t.ratioBias),
    handle(t.entropy),
    handle(t.groupWeight),
    handle(t.shaped),
    handle(t.mask),
  ];
}

/** @internal As inputHandles. */
export function outputHandles(out: SurrogateResult): (TensorHandle | null)[] {
  return [
    handle(out.loss),
    handle(out.dLogProb),
    handle(out.dEntropy),
    handle(out.dRatioBias),
    handle(out.mismatchWeight),
    handle(out.metrics),
  ];
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

/** @internal What the logits say. */
export type LossInputs = Omit<SurrogateInputs, "logProb" | "entropy">;

/** @internal All inputs but those. */
export function lossTensors(
  inputs: Inputs,
  given: LossInputs,
  bounds: { rows: Offsets; segments: number; groups: number },
  o: ResolvedSurrogate,
) {
  const { rows: R, total: T } = bounds.rows;
  const each = [T];
  const perToken = (name: string, value: TensorLike | null | undefined) =>
    inputs.optional(name, value, "f32", each);
  const advantage = advantageInputs[o.advantage];
  const units = { row: R, segment: bounds.segments, token: T }[o.advantage];
  const limits = limitTensors(inputs, given, R, T);
  return {
    oldLogProb: perToken("oldLogProb", given.oldLogProb),
    refLogProb: perToken("refLogProb", given.refLogProb),
    samplerLogProb: perToken("samplerLogProb", given.samplerLogProb),
    advantage: inputs.tensor(advantage, given[advantage]!, "f32", [units]),
    weight: perToken("weight", given.weight),
    low: limits?.low ?? null,
    high: limits?.high ?? null,
    ratioScale: perToken("ratioScale", given.ratioScale),
    ratioBias: perToken("ratioBias", given.ratioBias),
    groupWeight: inputs.optional("groupWeight", given.groupWeight, "f32", [bounds.groups]),
    shaped: inputs.optional("shaped", given.shaped, "u8", [R]),
    mask: inputs.optional("mask", given.mask, "u8", each),
  };
}

function limitTensors(inputs: Inputs, given: LossInputs, rows: number, tokens: number) {
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
