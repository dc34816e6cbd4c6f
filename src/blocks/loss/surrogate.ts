import type { Scheduled } from "../../contract/block.js";
import type { Column } from "../../contract/data.js";
import type { LossBatch, LossScale, LossTerm } from "../../contract/loss.js";
import type { Measure } from "../../contract/metrics.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import {
  aggregations,
  forms,
  type SurrogateOptions as KernelOptions,
  klEstimators,
  levels,
  type SurrogateInputs,
  surrogate as surrogateKernel,
  surrogateMetrics,
} from "../../engine/kernels/surrogate.js";
import { concatenate } from "../../engine/ragged.js";
import { atStep, choice, number, orNull, scheduled } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { perAction } from "../columns.js";

type Aggregation = KernelOptions["aggregation"];

/** As the kernel's options, with defaults, schedules and null for "none". */
export interface SurrogateOptions extends Pick<KernelOptions, "level" | "form" | "klEstimator"> {
  /** Lower clip distance; >= 0, default 0.2. */
  epsilon?: Scheduled;
  /** Upper clip distance; >= 0, default null: epsilon. */
  epsilonHigh?: Scheduled | null;
  /** Two-sided clip (TRL): caps the ratio of the unclipped arm; > 1 + epsilonHigh, default null. */
  delta?: number | null;
  /** Dual clip (verl): for A < 0 the loss is at most -dualClip A; > 1, default null. */
  dualClip?: number | null;
  /** Coefficient of the KL to the model "reference", in the loss; >= 0, default 0. */
  beta?: Scheduled;
  /** How token losses become one number; default "token-mean". */
  aggregation?: Aggregation;
  /** Divides the row sums of "seq-mean-token-sum-norm", which needs it; > 0. */
  horizon?: number | null;
}

/**
 * What an aggregation divides by, over the whole optimiser step; undefined where nothing is trained or
 * the aggregation is a plain sum.
 */
export function aggregationDenominator(kind: Aggregation, scale: LossScale): number | undefined {
  if (kind === "token-sum") return undefined;
  const count = kind === "token-mean" ? scale.trainedTokens : scale.activeRows;
  return count === 0 ? undefined : count;
}

/**
 * What the kernel takes of the rows' columns: `advantage` [R] where each row has one number, else
 * `tokenAdvantage` [T]; `weight` [T], or null where no row has any.
 */
export function rowColumns(
  batch: Pick<LossBatch, "rows">,
): Pick<SurrogateInputs, "advantage" | "tokenAdvantage" | "weight"> {
  const { rows } = batch;
  const perToken = (name: string, missing?: Column) =>
    concatenate(
      Float32Array,
      rows.map(({ columns, actions }) =>
        perAction(name, (columns[name] ?? missing)!, actions.length),
      ),
    );
  const weighted = rows.some(({ columns }) => columns.weight !== undefined);
  const weight = weighted ? perToken("weight", { level: "row", value: 1 }) : null;
  const perRow = rows.map(({ columns: { advantage: a } }) => (a?.level === "row" ? a.value : null));
  if (perRow.includes(null)) return { tokenAdvantage: perToken("advantage"), weight };
  return { advantage: Float32Array.from(perRow as number[]), weight };
}

/** The kernel's sums as parts of metrics, by TRL's names. */
export function surrogateMeasures(values: Float64Array, withKl: boolean): Record<string, Measure> {
  const of = Object.fromEntries(surrogateMetrics.map((name, i) => [name, values[i]!])) as Record<
    (typeof surrogateMetrics)[number],
    number
  >;
  const share = (sum: number) => ({ kind: "mean" as const, sum, count: of.trainedTokens });
  const measures: Record<string, Measure> = {
    "clip_ratio/low_mean": { ...share(of.clippedLow), min: "clip_ratio/low_min" },
    "clip_ratio/high_mean": { ...share(of.clippedHigh), max: "clip_ratio/high_max" },
    "clip_ratio/region_mean": share(of.clippedLow + of.clippedHigh),
  };
  if (withKl) measures.kl = share(of.klSum);
  return measures;
}

const shape = {
  level: choice("token", levels, "what the ratio of new to old probability is taken over"),
  form: choice("clip", forms, "clip: -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilonHigh) A)"),
  epsilon: scheduled(0.2, { min: 0 }, "lower clip distance"),
  epsilonHigh: orNull(scheduled, null, { min: 0 }, "upper clip distance; null: epsilon"),
  delta: orNull(number, null, { above: 1 }, "cap of the ratio in the unclipped arm; null: none"),
  dualClip: orNull(
    number,
    null,
    { above: 1 },
    "for A < 0 the loss is at most -dualClip A; null: none",
  ),
  beta: scheduled(0, { min: 0 }, "coefficient of the KL to the reference policy, in the loss"),
  klEstimator: choice("k3", klEstimators, "of the KL; k3+ has k3's value and k2's gradient"),
  aggregation: choice("token-mean", aggregations, "how token losses become one number"),
  horizon: orNull(number, null, { above: 0 }, "divides the row sums of seq-mean-token-sum-norm"),
};

/**
 * Clipped policy-gradient loss with an optional KL to the reference (PPO, Schulman et al. 2017, eq. 7;
 * GRPO, Shao et al. 2024, eq. 3). Option names as in TRL, aggregations as in verl.
 */
export function surrogate(options: SurrogateOptions = {}): LossTerm {
  const { values, described } = parseOptions("surrogate", shape, options, {
    inapplicable: {
      klEstimator: (o) => (o.beta === 0 ? "beta is 0" : null),
      horizon: (o) =>
        o.aggregation === "seq-mean-token-sum-norm" ? null : `aggregation is "${o.aggregation}"`,
    },
    contradicts: {
      horizon: (o) =>
        o.horizon === null ? 'a number (aggregation is "seq-mean-token-sum-norm")' : null,
      delta: (o) => {
        const high = 1 + greatest(o.epsilonHigh ?? o.epsilon);
        return o.delta !== null && o.delta <= high
          ? `a number above 1 + epsilonHigh = ${high}`
          : null;
      },
    },
  });
  const { level, form, klEstimator, aggregation } = values;
  const withKl = values.beta !== 0;
  return {
    block: "surrogate",
    options: described,
    coupling: "token",
    models: withKl ? ["reference"] : [],
    entropy: false,
    columns: ["advantage"],
    evaluate(batch) {
      const result = surrogateKernel(
        engineOf(batch.engine),
        {
          logProb: tensorOf(batch.logProb, "logProb"),
          oldLogProb: batch.oldLogProb,
          refLogProb: withKl ? batch.modelLogProb.reference! : null,
          ...rowColumns(batch),
          mask: batch.mask,
          rowOffsets: batch.rowOffsets,
        },
        {
          level,
          form,
          epsilon: atStep(values.epsilon, batch.step),
          epsilonHigh: atStep(values.epsilonHigh ?? values.epsilon, batch.step),
          delta: values.delta ?? undefined,
          dualClip: values.dualClip ?? undefined,
          beta: atStep(values.beta, batch.step),
          klEstimator,
          aggregation,
          denominator: aggregationDenominator(aggregation, batch.scale),
          horizon: values.horizon ?? undefined,
        },
      );
      return { ...result, dEntropy: null, decode: (sums) => surrogateMeasures(sums, withKl) };
    },
  };
}

function greatest(value: Scheduled): number {
  return typeof value === "number" ? value : Math.max(value.from, value.to);
}
