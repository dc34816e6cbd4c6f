import {
  aFunction,
  aNumber,
  aText,
  checkArguments,
  listOf,
  oneOf,
  withFields,
} from "../engine/arguments.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { meanInterval } from "../statistics/interval.js";
import { mean } from "../statistics/mean.js";
import type { Judge, Measure, Results } from "./claim.js";

/** Whether a comparison shows what was claimed: by its whole interval, or not decided. */
export type Shown = "yes" | "no" | "inconclusive";

/** One arm beside a baseline, seed by seed. */
export interface Comparison {
  readonly measure: string;
  readonly arm: string;
  /** Of several baselines the strongest. */
  readonly baseline: string;
  /** How much better the arm must be, in the measure's unit. */
  readonly by: number;
  readonly values: readonly (number | null)[];
  readonly baselineValues: readonly (number | null)[];
  /** Mean improvement over seeds that have both values; null without any. */
  readonly difference: number | null;
  /** 95% interval of the improvement: Student's t over paired differences; null for fewer than two. */
  readonly interval: readonly [low: number, high: number] | null;
  readonly shown: Shown;
}

/** The rule by which a comparison is judged, for people. */
export const rule =
  "yes: the whole 95% interval of the improvement (Student's t over differences paired by seed) is at " +
  "least what is asked for; no: the whole interval is below; inconclusive: neither, or fewer than two seeds";

/** Whether an interval lies at or above a bound, below it, or on both sides. */
export function judgeInterval(interval: readonly [number, number] | null, by: number): Shown {
  if (interval === null) return "inconclusive";
  if (interval[0] >= by) return "yes";
  return interval[1] < by ? "no" : "inconclusive";
}

/** A claim with several comparisons is shown where all are, and refuted where one is. */
export function judgeAll(comparisons: readonly Pick<Comparison, "shown">[]): Shown {
  if (comparisons.some(({ shown }) => shown === "no")) return "no";
  return comparisons.every(({ shown }) => shown === "yes") ? "yes" : "inconclusive";
}

interface Exceeds {
  arm: string;
  /** The one with the best mean counts. */
  baselines: readonly [string, ...string[]];
  measure: Measure;
  /** In the measure's unit; negative: by how much it may be worse. */
  by: number;
}

export const aMeasure = withFields({
  name: aText,
  better: oneOf(["higher", "lower"]),
  of: aFunction,
});

/** Judges whether an arm is better than the strongest of its baselines by at least `by`. */
export function exceeds(how: Exceeds): Judge {
  checkArguments(
    { how },
    { how: withFields({ arm: aText, baselines: listOf(aText), measure: aMeasure, by: aNumber }) },
  );
  const { arm, baselines, measure, by } = how;
  return (results) => {
    const sign = measure.better === "higher" ? 1 : -1;
    const strength = (name: string) => {
      const average = mean(results.values(name, measure));
      return average === null ? Number.NEGATIVE_INFINITY : sign * average;
    };
    const baseline = baselines.reduce((a, b) => (strength(b) > strength(a) ? b : a));
    return [compare(results, { arm, baseline, measure, by })];
  };
}

/** Several conditions, each of which must hold; the first is the claim's own. */
export function allOf(...judges: readonly Judge[]): Judge {
  checkArguments({ judges }, { judges: listOf(aFunction) });
  return (results) => judges.flatMap((judge) => judge(results));
}

function compare(
  results: Results,
  { arm, baseline, measure, by }: { arm: string; baseline: string; measure: Measure; by: number },
): Comparison {
  const values = results.values(arm, measure);
  const baselineValues = results.values(baseline, measure);
  const sign = measure.better === "higher" ? 1 : -1;
  const differences = values.flatMap((value, i) => {
    const other = baselineValues[i] ?? null;
    return value === null || other === null ? [] : [sign * (value - other)];
  });
  const found = meanInterval(differences);
  const interval = found === null ? null : ([found.low, found.high] as const);
  return {
    ...{ measure: measure.name, arm, baseline, by, values, baselineValues },
    difference: mean(differences),
    interval,
    shown: judgeInterval(interval, by),
  };
}

/** Results of runs by arm. */
export function resultsOf(
  runs: ReadonlyMap<string, readonly Parameters<Measure["of"]>[0][]>,
): Results {
  return {
    values(arm, measure) {
      const own = runs.get(arm);
      if (own !== undefined) return own.map((run) => measure.of(run));
      const message = `Expected one of the claim's arms (${[...runs.keys()].map(show).join(", ")}) but received ${show(arm)}`;
      throw new FiresteelError("ERR_OPTION", message);
    },
  };
}
