import type { LinearSchedule } from "../../contract/block.js";
import type { LossBatch, LossScale, LossTerm } from "../../contract/loss.js";
import type { Measure } from "../../contract/metrics.js";
import { invalid } from "../../engine/checks.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import {
  type SurrogateMetric,
  surrogate as surrogateKernel,
  surrogateMetrics,
} from "../../engine/kernels/surrogate.js";
import type {
  SurrogateOptions as KernelOptions,
  SurrogateInputs,
} from "../../engine/kernels/surrogateArguments.js";
import { groupedAggregations, pools } from "../../engine/kernels/surrogateTable.js";
import { atStep } from "../../options/option.js";
import { parseSurrogate, type SurrogateOptions, type SurrogateValues } from "./surrogateOptions.js";
import {
  actionColumn,
  advantageInput,
  groupWeightInput,
  limitInput,
  shapedInput,
  weightInput,
} from "./surrogateRows.js";

export type { SurrogateOptions } from "./surrogateOptions.js";

/**
 * What an aggregation divides by, over the whole optimiser step; undefined where nothing is trained or
 * the aggregation is a plain sum.
 */
export function aggregationDenominator(
  kind: KernelOptions["aggregation"],
  scale: LossScale,
  emptyRows: "skip" | "count" = "skip",
): number | undefined {
  if (kind === "token-sum" || scale.trainedTokens === 0) return undefined;
  if (kind === "token-mean") return scale.trainedTokens;
  if (groupedAggregations.includes(kind)) return scale.activeGroups;
  return emptyRows === "count" ? scale.rows : scale.activeRows;
}

/** What a term has, and reports of. */
interface SurrogateParts {
  kl: boolean;
  entropy: boolean;
  sampler: boolean;
  /** Whether the ratio is a row's: then clip ratios are means over rows, as in TRL. */
  rowRatio: boolean;
}

/** The kernel's sums as parts of metrics, by TRL's names. */
function surrogateMeasures(values: Float64Array, has: SurrogateParts): Record<string, Measure> {
  const of = Object.fromEntries(surrogateMetrics.map((name, i) => [name, values[i]!])) as Record<
    SurrogateMetric,
    number
  >;
  const mean = (sum: number, count: number): Measure => ({ kind: "mean", sum, count });
  const clipped = has.rowRatio
    ? { low: of.clippedLowRows, high: of.clippedHighRows, count: of.ratioRows }
    : { low: of.clippedLow, high: of.clippedHigh, count: of.ratioTokens };
  const ratio = "sampling/importance_sampling_ratio";
  const difference = "sampling/sampling_logp_difference";
  return {
    "clip_ratio/low_mean": mean(clipped.low, clipped.count),
    "clip_ratio/low_min": { kind: "min", value: of.clippedLowRowMin },
    "clip_ratio/high_mean": mean(clipped.high, clipped.count),
    "clip_ratio/high_max": { kind: "max", value: of.clippedHighRowMax },
    "clip_ratio/region_mean": mean(clipped.low + clipped.high, clipped.count),
    ...(has.kl && { kl: mean(of.klSum, of.trainedTokens) }),
    ...(has.entropy && { entropy: mean(of.entropySum, of.trainedTokens) }),
    ...(has.sampler && {
      [`${ratio}/min`]: { kind: "min", value: of.mismatchMin } as const,
      [`${ratio}/mean`]: mean(of.mismatchSum, of.ratioTokens),
      [`${ratio}/max`]: { kind: "max", value: of.mismatchMax } as const,
      [`${difference}/mean`]: mean(of.samplerDifferenceSum, of.ratioTokens),
      [`${difference}/max`]: { kind: "max", value: of.samplerDifferenceMax } as const,
    }),
  };
}

/** Columns that every row must have. */
function columnsOf(o: SurrogateValues): string[] {
  return [
    "advantage",
    ...(readsSampler(o) ? ["samplerLogProb"] : []),
    ...(o.limits === "columns" ? ["clipLow", "clipHigh"] : []),
    ...(o.aggregation === "group-weighted" ? ["groupWeight"] : []),
  ];
}

const readsSampler = (o: SurrogateValues) => o.mismatch !== "none" || o.offPolicyThreshold !== null;
/** Whether the horizon is the run's maxCompletionLength. */
const followsRun = (o: SurrogateValues) =>
  o.aggregation === "seq-mean-token-sum-norm" && o.horizon === null;
const isGrouped = (o: SurrogateValues) => groupedAggregations.includes(o.aggregation);

function inputsOf(o: SurrogateValues, batch: LossBatch): SurrogateInputs {
  const { rows } = batch;
  return {
    logProb: tensorOf(batch.logProb, "logProb"),
    oldLogProb: batch.oldLogProb,
    refLogProb: o.beta === 0 ? null : batch.modelLogProb.reference!,
    samplerLogProb: readsSampler(o) ? actionColumn(rows, "samplerLogProb") : null,
    ...advantageInput(rows, o.level),
    weight: weightInput(rows),
    ...(o.limits === "columns" ? limitInput(rows) : {}),
    shaped: o.shaped ? shapedInput(rows) : null,
    entropy: o.entropyCoefficient === 0 ? null : tensorOf(batch.entropy!, "entropy"),
    mask: batch.mask,
    rowOffsets: batch.rowOffsets,
    groupOffsets: isGrouped(o) ? batch.groupOffsets : null,
    groupWeight: o.aggregation === "group-weighted" ? groupWeightInput(batch) : null,
  };
}

const isSchedule = (value: unknown): value is LinearSchedule =>
  typeof value === "object" && value !== null && "schedule" in value;

/** The options that apply, with the numbers of the batch's step. */
function optionsOf(
  o: SurrogateValues,
  applies: ReadonlySet<string>,
  batch: LossBatch,
): KernelOptions {
  const { conventions: _conventions, limits: _limits, shaped: _shaped, emptyRows, ...kernel } = o;
  const now = Object.entries(kernel)
    .filter(([name, value]) => value !== null && applies.has(name))
    .map(([name, value]) => [name, isSchedule(value) ? atStep(value, batch.step) : value]);
  const clamp = o.logRatioClamp;
  const counted = o.entropyAggregation === "token-mean" && o.entropyCoefficient !== 0;
  return {
    ...(Object.fromEntries(now) as unknown as KernelOptions),
    ...(clamp && { logRatioClamp: [clamp[0] ?? Number.NEGATIVE_INFINITY, clamp[1]] }),
    ...(followsRun(o) && { horizon: batch.maxCompletionLength }),
    denominator: aggregationDenominator(o.aggregation, batch.scale, emptyRows),
    ...(counted && { entropyDenominator: batch.scale.trainedTokens || undefined }),
  };
}

/**
 * Policy-gradient loss over ratios of new to old probability, with an optional KL to the reference and an
 * entropy bonus: every form and level of `surrogateTable` (PPO, GRPO, GSPO, CISPO, SAPO, GMPO, ...).
 * Option names as in TRL, aggregations as in verl.
 *
 * Reads the rows' columns `advantage` (by row, segment or action), `weight` where there is one,
 * `samplerLogProb` for `mismatch` and `offPolicyThreshold`, `clipLow` and `clipHigh` for
 * `limits: "columns"`, `shaped` for `shaped: true`, `groupWeight` for aggregation "group-weighted".
 *
 * @throws FiresteelError ERR_OPTION
 * @example
 * surrogate({ level: "sequence", epsilon: 3e-4, epsilonHigh: 4e-4, aggregation: "seq-mean-token-mean" });
 */
export function surrogate(options: SurrogateOptions = {}): LossTerm {
  const { values, described } = parseSurrogate(options);
  const applies = new Set(described.filter(({ value }) => value !== null).map(({ name }) => name));
  const has: SurrogateParts = {
    kl: values.beta !== 0,
    entropy: values.entropyCoefficient !== 0,
    sampler: readsSampler(values),
    rowRatio: pools[values.level] === "row",
  };
  return {
    block: "surrogate",
    options: described,
    coupling: isGrouped(values) ? "group" : "token",
    models: has.kl ? ["reference"] : [],
    entropy: has.entropy,
    columns: columnsOf(values),
    inspect(run) {
      if (!followsRun(values) || run.maxCompletionLength > 0) return [];
      const expected = "a number (the rollouts' maxCompletionLength is not known)";
      throw invalid("ERR_OPTION", "surrogate.horizon", expected, null);
    },
    evaluate(batch) {
      const result = surrogateKernel(
        engineOf(batch.engine),
        inputsOf(values, batch),
        optionsOf(values, applies, batch),
      );
      const { loss, dLogProb, dEntropy, metrics } = result;
      result.mismatchWeight?.dispose();
      const decode = (sums: Float64Array) => surrogateMeasures(sums, has);
      return { loss, dLogProb, dEntropy, metrics, decode };
    },
  };
}
