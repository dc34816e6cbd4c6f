import { checkBoolean, checkChoice, checkKeys, checkNumber, invalid, show } from "../checks.js";
import { FiresteelError } from "../error.js";
import type { Refusal } from "./kernelTable.js";
import type { SurrogateOptions } from "./surrogateArguments.js";
import { inapplicable, type SurrogateUse } from "./surrogateRules.js";
import {
  type AdvantageUnit,
  advantageInputs,
  advantages,
  aggregations,
  defaultEpsilon,
  formOptions,
  forms,
  groupedAggregations,
  klEstimators,
  levels,
  limits,
  mismatches,
  refuseAdvantage,
  refuseAggregation,
  refuseKlRatio,
  refuseLevel,
  refuseNormalisedRatio,
} from "./surrogateTable.js";

const optionNames = [
  ...["level", "form", "epsilon", "epsilonHigh", "clipRange", ...Object.keys(formOptions)],
  ...["logRatioClamp", "shapeGamma", "shapeBase", "beta", "klEstimator", "klRatio", "klClamp"],
  ...["mismatch", "mismatchLow", "mismatchHigh", "offPolicyThreshold", "aggregation"],
  ...["denominator", "horizon", "emptyRows"],
  ...["entropyCoefficient", "entropyAggregation", "entropyDenominator", "out"],
];

/** The inputs of a call by name, as far as given: whether each is there, and its value for messages. */
export type GivenInputs = Readonly<Record<string, unknown>>;

/** The options of a call with all defaults filled in; infinite where there is no limit. */
export type ResolvedSurrogate = ReturnType<typeof resolveSurrogate>;

const keys = <K extends string>(table: Readonly<Record<K, string>>) => Object.keys(table) as K[];
const has = (value: unknown) => value !== undefined && value !== null;
const or = <T>(value: T | undefined, initial: T) => (value === undefined ? initial : value);
const none = Number.POSITIVE_INFINITY;

/**
 * Holds options against each other and against the inputs given, and fills in the defaults.
 *
 * @throws FiresteelError ERR_OPTION, ERR_RANGE
 */
export function resolveSurrogate(given: GivenInputs, options: SurrogateOptions) {
  checkKeys("options", options, optionNames);
  const o = { ...options }; // read once
  const use = combination(given, o);
  const chosen = Object.entries(o).filter(([, value]) => value !== undefined);
  for (const [name, value] of [...chosen, ...Object.entries(given).filter(([, x]) => has(x))]) {
    const reason = inapplicable(name, use);
    if (reason !== null) throw invalid("ERR_OPTION", name, `nothing (${reason})`, value);
  }

  const { low, high } = limitsOf(o, use);
  const above = (name: string, value: number | undefined, initial: number, min = 0) =>
    value === undefined ? initial : checkNumber(name, value, min, Number.MAX_VALUE, true);
  const atLeast0 = (name: string, value: number | undefined, initial: number) =>
    checkNumber(name, or(value, initial), 0);
  const finite = (name: string, value: number | undefined, initial: number) =>
    value === undefined ? initial : checkNumber(name, value, -Number.MAX_VALUE);
  const mismatchLow = atLeast0("mismatchLow", o.mismatchLow, 0);
  const truncates = use.mismatch.endsWith("truncate");
  const mismatchHigh = or(o.mismatchHigh, Math.max(mismatchLow, truncates ? 2 : 3));
  checkKeys("klClamp", or(o.klClamp, {}), ["difference", "value"]);
  const klClamp = { ...o.klClamp };
  const resolved = {
    ...use,
    ...{ low, high },
    limitsPerRow: has(given.rowLimits),
    delta: above("delta", o.delta, none),
    dualClip: above("dualClip", o.dualClip, none),
    tauPositive: above("tauPositive", o.tauPositive, formOptions.tauPositive.default),
    tauNegative: above("tauNegative", o.tauNegative, formOptions.tauNegative.default),
    ratioCap: above("ratioCap", o.ratioCap, formOptions.ratioCap.default),
    kPositive: atLeast0("kPositive", o.kPositive, formOptions.kPositive.default),
    lambdaPositive: atLeast0(
      "lambdaPositive",
      o.lambdaPositive,
      formOptions.lambdaPositive.default,
    ),
    kNegative: atLeast0("kNegative", o.kNegative, formOptions.kNegative.default),
    lambdaNegative: atLeast0(
      "lambdaNegative",
      o.lambdaNegative,
      formOptions.lambdaNegative.default,
    ),
    logRatio: logRatioClamp(o.logRatioClamp),
    shapeGamma: above("shapeGamma", o.shapeGamma, 0.1),
    shapeByOld: checkChoice("shapeBase", or(o.shapeBase, "current"), ["current", "old"]) === "old",
    beta: atLeast0("beta", o.beta, 0),
    klEstimator: checkChoice("klEstimator", or(o.klEstimator, "k3"), keys(klEstimators)),
    klRatio: checkBoolean("klRatio", or(o.klRatio, false)),
    klDifference: above("klClamp.difference", klClamp.difference, none),
    klValue: above("klClamp.value", klClamp.value, none),
    mismatchLow,
    mismatchHigh: checkNumber("mismatchHigh", mismatchHigh, mismatchLow),
    offPolicyThreshold: finite("offPolicyThreshold", o.offPolicyThreshold, none),
    countEmptyRows:
      checkChoice("emptyRows", or(o.emptyRows, "skip"), ["skip", "count"]) === "count",
    denominator: above("denominator", o.denominator, 0), // 0: counted by the kernel
    horizon: above("horizon", o.horizon, 1),
    entropyCoefficient: finite("entropyCoefficient", o.entropyCoefficient, 0),
    entropyDenominator: above("entropyDenominator", o.entropyDenominator, 0),
  };
  requireInputs(given, o, resolved);
  return resolved;
}

/** The choices, after those that do not go together have been refused. */
function combination(given: GivenInputs, o: SurrogateOptions) {
  const level = checkChoice("level", or(o.level, "token"), keys(levels));
  const form = checkChoice("form", or(o.form, "clip"), keys(forms));
  const aggregation = checkChoice("aggregation", o.aggregation, keys(aggregations));
  const mismatch = checkChoice("mismatch", or(o.mismatch, "none"), keys(mismatches));
  const entropyAggregation = checkChoice("entropyAggregation", or(o.entropyAggregation, "loss"), [
    "loss",
    "token-mean",
  ]);
  const unit = advantageUnit(given);
  const input = advantageInputs[unit];
  const [theForm, theLevel] = [`form ${show(form)}`, `level ${show(level)}`];
  refuse("level", level, theForm, refuseLevel(form, level, unit));
  refuse(input, given[input], `${theForm}, ${theLevel}`, refuseAdvantage(form, level, unit));
  const balanced = refuseAggregation(aggregation, unit);
  refuse(input, given[input], `aggregation ${show(aggregation)}`, balanced);
  if (o.klRatio === true) refuse("klRatio", true, theForm, refuseKlRatio(form));
  if (has(given.ratioScale)) {
    const refusal = refuseNormalisedRatio(form, level);
    refuse("ratioScale", given.ratioScale, `${theForm}, ${theLevel}`, refusal);
  }
  const dataLimits = (["rowLimits", "tokenLimits"] as const).find((name) => has(given[name]));
  return {
    ...{ level, form, aggregation, mismatch, entropyAggregation, advantage: unit },
    clipRangeGiven: o.clipRange !== undefined,
    dataLimits: dataLimits === undefined ? null : `${dataLimits} is given`,
    noReference: has(given.refLogProb) ? null : "refLogProb is not given",
    noEntropy: has(given.entropy) ? null : "entropy is not given",
    noShapedRows: has(given.shaped) ? null : "shaped is not given",
    denominatorGiven: o.denominator !== undefined,
  } satisfies SurrogateUse & { advantage: AdvantageUnit };
}

function refuse(option: string, value: unknown, beside: string, refusal: Refusal | null): void {
  if (refusal === null) return;
  const { message } = invalid("ERR_OPTION", option, refusal.nearest, value);
  throw new FiresteelError("ERR_OPTION", `${message} (${beside}: ${refusal.reason})`);
}

function advantageUnit(given: GivenInputs): AdvantageUnit {
  const names = Object.values(advantageInputs);
  const found = keys(advantages).filter((unit) => has(given[advantageInputs[unit]]));
  if (found.length === 1) return found[0]!;
  const came = found.length === 0 ? "none" : found.map((unit) => advantageInputs[unit]).join(", ");
  throw new FiresteelError(
    "ERR_OPTION",
    `Expected exactly one of ${names.join(", ")} but received ${came}`,
  );
}

/** Inputs and options that others call for. */
function requireInputs(
  given: GivenInputs,
  o: SurrogateOptions,
  use: SurrogateUse & { beta: number; entropyCoefficient: number },
): void {
  const sampler = has(given.samplerLogProb);
  const needs: [name: string, expected: string, reason: string | false][] = [
    ["refLogProb", "log-probs", use.beta > 0 && "beta is above 0"],
    ["entropy", "entropies", use.entropyCoefficient !== 0 && "entropyCoefficient is not 0"],
    ["oldLogProb", "log-probs", use.level !== "none" && `level is ${show(use.level)}`],
    ["oldLogProb", "log-probs", o.shapeBase === "old" && 'shapeBase is "old"'],
    ["oldLogProb", "log-probs", use.mismatch !== "none" && `mismatch is ${show(use.mismatch)}`],
    [
      "oldLogProb",
      "log-probs",
      o.offPolicyThreshold !== undefined && !sampler && "offPolicyThreshold needs a sampler or it",
    ],
    ["samplerLogProb", "log-probs", use.mismatch !== "none" && `mismatch is ${show(use.mismatch)}`],
    ["segmentOffsets", "offsets", use.level === "segment" && 'level is "segment"'],
    [
      "groupOffsets",
      "offsets",
      groupedAggregations.includes(use.aggregation) && `aggregation is ${show(use.aggregation)}`,
    ],
    ["ratioBias", "values", has(given.ratioScale) && "ratioScale is given"],
    ["ratioScale", "values", has(given.ratioBias) && "ratioBias is given"],
  ];
  for (const [name, expected, reason] of needs) {
    if (reason === false || has(given[name])) continue;
    throw invalid("ERR_OPTION", name, `${expected} (${reason})`, given[name]);
  }
  if (has(given.rowLimits) && has(given.tokenLimits)) {
    throw invalid("ERR_OPTION", "tokenLimits", "nothing (rowLimits is given)", given.tokenLimits);
  }
  if (use.aggregation === "seq-mean-token-sum-norm" && o.horizon === undefined) {
    throw invalid("ERR_OPTION", "horizon", "a number > 0", o.horizon);
  }
}

/** [low, high] as the form reads it; infinite where it has none or they come as tensors. */
function limitsOf(o: SurrogateOptions, use: SurrogateUse): { low: number; high: number } {
  const kind = limits[use.form];
  if (kind === null || use.dataLimits !== null) return { low: -none, high: none };
  const least = kind === "ratio" ? 0 : -Number.MAX_VALUE;
  if (o.clipRange !== undefined) {
    const [from, to] = pair("clipRange", o.clipRange);
    const low = checkNumber("clipRange[0]", from, least);
    return { low, high: checkNumber("clipRange[1]", to, low) };
  }
  const epsilon = checkNumber("epsilon", or(o.epsilon, defaultEpsilon[use.form]), 0);
  const epsilonHigh = checkNumber("epsilonHigh", or(o.epsilonHigh, epsilon), 0);
  const center = kind === "ratio" ? 1 : 0;
  return { low: center - epsilon, high: center + epsilonHigh };
}

function logRatioClamp(value: unknown): { low: number; high: number } {
  if (value === undefined) return { low: -none, high: none };
  const [low, high] = pair("logRatioClamp", value);
  return {
    low: low === -none ? low : checkNumber("logRatioClamp[0]", low, -Number.MAX_VALUE, 0),
    high: checkNumber("logRatioClamp[1]", high, 0),
  };
}

function pair(name: string, value: unknown): [number, number] {
  if (Array.isArray(value) && value.length === 2) return [value[0], value[1]];
  throw invalid("ERR_OPTION", name, "[low, high]", value);
}
