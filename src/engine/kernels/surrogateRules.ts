import {
  type Aggregation,
  type Form,
  formOptions,
  groupedAggregations,
  type Level,
  limits,
  type Mismatch,
  rowAggregations,
} from "./surrogateTable.js";

/** What decides which options of a surrogate have a meaning beside the others. */
export interface SurrogateUse {
  readonly form: Form;
  readonly level: Level;
  readonly aggregation: Aggregation;
  readonly mismatch: Mismatch;
  readonly entropyAggregation: "loss" | "token-mean";
  readonly clipRangeGiven: boolean;
  /** Why limits are not options but data, or null where they are. */
  readonly dataLimits: string | null;
  /** Why there is none of it, or null where there is. */
  readonly noReference: string | null;
  readonly noEntropy: string | null;
  readonly noShapedRows: string | null;
  /** Whether the call is told what to divide by. */
  readonly denominatorGiven: boolean;
}

type Rule = (use: SurrogateUse) => string | null;

const hasLimits: Rule = ({ form }) => (limits[form] === null ? `form is "${form}"` : null);
const chosenLimits: Rule = (use) => hasLimits(use) ?? use.dataLimits;
const fromEpsilon: Rule = (use) =>
  chosenLimits(use) ?? (use.clipRangeGiven ? "clipRange is given" : null);
const weighs: Rule = ({ mismatch }) => (mismatch === "none" ? 'mismatch is "none"' : null);
const aggregated =
  (kinds: readonly Aggregation[]): Rule =>
  ({ aggregation }) =>
    kinds.includes(aggregation) ? null : `aggregation is "${aggregation}"`;

/** Why an option, or an input that only some combinations read, has no meaning there, or null. */
const rules = {
  epsilon: fromEpsilon,
  epsilonHigh: fromEpsilon,
  clipRange: chosenLimits,
  rowLimits: hasLimits,
  tokenLimits: hasLimits,
  limits: hasLimits,
  logRatioClamp: ({ level }) => (level === "none" ? 'level is "none"' : null),
  shapeGamma: ({ noShapedRows }) => noShapedRows,
  shapeBase: ({ noShapedRows }) => noShapedRows,
  klEstimator: ({ noReference }) => noReference,
  klRatio: ({ noReference }) => noReference,
  klClamp: ({ noReference }) => noReference,
  mismatchLow: weighs,
  mismatchHigh: weighs,
  horizon: aggregated(["seq-mean-token-sum-norm"]),
  emptyRows: (use) =>
    aggregated(rowAggregations)(use) ?? (use.denominatorGiven ? "denominator is given" : null),
  groupOffsets: aggregated(groupedAggregations),
  groupWeight: aggregated(["group-weighted"]),
  segmentOffsets: ({ level }) => (level === "segment" ? null : `level is "${level}"`),
  entropyAggregation: ({ noEntropy }) => noEntropy,
  entropyDenominator: ({ noEntropy, entropyAggregation }) =>
    noEntropy ??
    (entropyAggregation === "token-mean" ? null : `entropyAggregation is "${entropyAggregation}"`),
} satisfies Record<string, Rule>;

/** Why an option has no meaning beside the others, or null where it has. */
export function inapplicable(option: string, use: SurrogateUse): string | null {
  if (Object.hasOwn(formOptions, option)) {
    const { form } = formOptions[option as keyof typeof formOptions];
    return use.form === form ? null : `form is "${use.form}"`;
  }
  return Object.hasOwn(rules, option) ? rules[option as keyof typeof rules](use) : null;
}
