import type { Scheduled } from "../../contract/block.js";
import type { Refusal } from "../../engine/kernels/kernelTable.js";
import type { SurrogateOptions as KernelOptions } from "../../engine/kernels/surrogateArguments.js";
import { inapplicable, type SurrogateUse } from "../../engine/kernels/surrogateRules.js";
import {
  aggregations,
  defaultEpsilon,
  type Form,
  formOptions,
  forms,
  klEstimators,
  levels,
  limits,
  mismatches,
  refuseKlRatio,
  refuseLevel,
} from "../../engine/kernels/surrogateTable.js";
import {
  choice,
  flag,
  named,
  number,
  type Option,
  orNull,
  pair,
  pairOrOpen,
  scheduled,
} from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import {
  type Conventions,
  conventionNames,
  type conventions,
  conventionsOf,
} from "../conventions.js";

type Moving = Pick<
  KernelOptions,
  | ("epsilon" | Exclude<keyof typeof formOptions, "delta" | "dualClip"> | "shapeGamma" | "beta")
  | ("mismatchLow" | "mismatchHigh" | "entropyCoefficient")
>;
type MovingOrNone = Pick<
  KernelOptions,
  "epsilonHigh" | "delta" | "dualClip" | "offPolicyThreshold"
>;
type Still = Pick<
  KernelOptions,
  | ("level" | "form" | "shapeBase" | "klEstimator" | "klRatio" | "mismatch" | "emptyRows")
  | "entropyAggregation"
>;
type StillOrNone = Pick<KernelOptions, "clipRange" | "klClamp" | "horizon">;

/**
 * The kernel's options, with defaults, schedules and null for "none". Denominators are the trainer's.
 */
export type SurrogateOptions = {
  [K in keyof Moving]: Scheduled;
} & { [K in keyof MovingOrNone]: Scheduled | null } & Still & {
    [K in keyof StillOrNone]: StillOrNone[K] | null;
  } & {
    /** How token losses become one number; default "token-mean". */
    aggregation?: KernelOptions["aggregation"];
    /** Clamps every token's log-ratio; low <= 0 <= high, low null for none. Default null. */
    logRatioClamp?: readonly [low: number | null, high: number] | null;
    /** Whose defaults hold where none is given here; default "trl". */
    conventions?: Conventions;
    /** Where the form's limits come from; default "options", else the columns "clipLow", "clipHigh". */
    limits?: "options" | "columns";
    /** Whether rows whose column "shaped" is 1 take the loss -A p / (p + shapeGamma); default false. */
    shaped?: boolean;
  };

const names = <K extends string>(table: Readonly<Record<K, string>>) => Object.keys(table) as K[];

type Preset = (typeof conventions)[Conventions]["surrogate"];

/** The same option with another default. */
function initially<T>(initial: NoInfer<T>, option: Option<T>): Option<T> {
  return { ...option, default: initial };
}

/** One option each, in the order in which a loss is thought of; some defaults follow the form. */
function shapeOf(form: Form, preset: Preset, distances: boolean) {
  const positive = { above: 0 };
  const atLeast0 = { min: 0 };
  const own = (name: keyof typeof formOptions, description: string, range: object = positive) => {
    const { default: initial } = formOptions[name];
    return scheduled(initial ?? 0, range, `${formOptions[name].form}: ${description}`);
  };
  const cispoRange = form === "cispo" && !distances ? preset.cispoRange : null;
  return {
    conventions: choice("trl", conventionNames, "whose defaults some options below have"),
    level: choice("token", names(levels), "what the ratio of new to old probability is taken over"),
    form: choice("clip", names(forms), "how ratio and advantage make a loss"),
    epsilon: scheduled(defaultEpsilon[form] ?? 0.2, atLeast0, "lower clip distance"),
    epsilonHigh: orNull(scheduled, null, atLeast0, "upper clip distance; null: epsilon"),
    clipRange: initially(
      cispoRange,
      pair("the limits themselves, instead of distances; null: none"),
    ),
    limits: choice("options", ["options", "columns"], "columns: clipLow and clipHigh of the rows"),
    delta: orNull(scheduled, null, positive, "cap of the ratio in the unclipped arm; null: none"),
    dualClip: orNull(
      scheduled,
      preset.dualClip,
      positive,
      "for A < 0 the loss is at most -dualClip A; null: none",
    ),
    tauPositive: own("tauPositive", "temperature where A > 0"),
    tauNegative: own("tauNegative", "temperature where A < 0"),
    ratioCap: scheduled(
      preset.ratioCap,
      positive,
      "dppo-tv: the greatest ratio a token counts with",
    ),
    kPositive: own("kPositive", "exponent k where A >= 0", atLeast0),
    lambdaPositive: own("lambdaPositive", "lambda where A >= 0", atLeast0),
    kNegative: own("kNegative", "exponent k where A < 0", atLeast0),
    lambdaNegative: own("lambdaNegative", "lambda where A < 0", atLeast0),
    logRatioClamp: initially(
      preset.logRatioClamp,
      pairOrOpen("of every token's log-ratio; null: none"),
    ),
    shaped: flag(false, "rows whose column shaped is 1 take the loss -A p / (p + shapeGamma)"),
    shapeGamma: scheduled(0.1, positive, "gamma of shaped rows"),
    shapeBase: choice("current", ["current", "old"], "whose p stands under shaped rows"),
    beta: scheduled(0, atLeast0, "coefficient of the KL to the reference policy, in the loss"),
    klEstimator: choice(
      "k3",
      names(klEstimators),
      "of the KL; k3+ has k3's value and k2's gradient",
    ),
    klRatio: flag(false, "multiplies the KL by the ratio, with gradient through it"),
    klClamp: initially(
      preset.klClamp,
      named(["difference", "value"], positive, "clamps of the KL; null: none"),
    ),
    mismatch: choice(
      "none",
      names(mismatches),
      "weights for a sampler that was not the old policy",
    ),
    mismatchLow: scheduled(preset.mismatchLow, atLeast0, "least mismatch weight"),
    mismatchHigh: scheduled(preset.mismatchHigh, atLeast0, "greatest mismatch weight"),
    offPolicyThreshold: orNull(
      scheduled,
      null,
      {},
      "rows with A < 0 further than this from the sampler are dropped; null: none",
    ),
    aggregation: choice("token-mean", names(aggregations), "how token losses become one number"),
    horizon: orNull(
      number,
      null,
      positive,
      "divides the row sums of seq-mean-token-sum-norm; null: the run's maxCompletionLength",
    ),
    emptyRows: choice(
      preset.emptyRows,
      ["skip", "count"],
      "whether rows without a trained token count",
    ),
    entropyCoefficient: scheduled(0, {}, "the mean entropy times it is taken off the loss"),
    entropyAggregation: choice("loss", ["loss", "token-mean"], "how entropies become one number"),
  };
}

type Shape = ReturnType<typeof shapeOf>;
export type SurrogateValues = {
  [K in keyof Shape]: Shape[K] extends Option<infer T> ? T : never;
};

/** Options with defaults, checked against the table. @throws FiresteelError ERR_OPTION */
export function parseSurrogate(options: SurrogateOptions) {
  const { form, epsilon, epsilonHigh } = (options ?? {}) as Record<string, unknown>;
  const known = typeof form === "string" && Object.hasOwn(forms, form) ? (form as Form) : "clip";
  const distances = (epsilon ?? epsilonHigh ?? null) !== null;
  const shape = shapeOf(known, conventionsOf(options).surrogate, distances);
  return parseOptions("surrogate", shape, options, {
    inapplicable: Object.fromEntries(
      Object.keys(shape).map((name) => [
        name,
        (o: SurrogateValues) => inapplicable(name, useOf(o)),
      ]),
    ),
    contradicts: {
      level: (o) => instead(o, refuseLevel(o.form, o.level, "row")),
      klRatio: (o) => (o.klRatio ? instead(o, refuseKlRatio(o.form)) : null),
      clipRange: ({ clipRange: range, form: f }) => {
        const least = limits[f] === "ratio" ? 0 : Number.NEGATIVE_INFINITY;
        const ordered = range === null || (least <= range[0] && range[0] <= range[1]);
        return ordered ? null : `[low, high] with ${least === 0 ? "0 <= " : ""}low <= high`;
      },
      logRatioClamp: ({ logRatioClamp: range }) =>
        range === null || ((range[0] ?? 0) <= 0 && range[1] >= 0)
          ? null
          : "[low, high] with low <= 0 <= high",
      mismatchHigh: (o) =>
        least(o.mismatchHigh) < greatest(o.mismatchLow) ? "a number >= mismatchLow" : null,
    },
  });
}

function instead(o: SurrogateValues, refusal: Refusal | null): string | null {
  return refusal && `${refusal.nearest} (form ${JSON.stringify(o.form)}: ${refusal.reason})`;
}

function useOf(o: SurrogateValues): SurrogateUse {
  const { form, level, aggregation, mismatch, entropyAggregation } = o;
  return {
    ...{ form, level, aggregation, mismatch, entropyAggregation },
    clipRangeGiven: o.clipRange !== null,
    dataLimits: o.limits === "columns" ? 'limits is "columns"' : null,
    noReference: o.beta === 0 ? "beta is 0" : null,
    noEntropy: o.entropyCoefficient === 0 ? "entropyCoefficient is 0" : null,
    noShapedRows: o.shaped ? null : "shaped is false",
    denominatorGiven: false,
  };
}

function greatest(value: Scheduled): number {
  return typeof value === "number" ? value : Math.max(value.from, value.to);
}

function least(value: Scheduled): number {
  return typeof value === "number" ? value : Math.min(value.from, value.to);
}
