import type { Metrics } from "../contract/metrics.js";

/** Metrics as columns: values[name][i] is of steps[i]. */
export interface Series {
  /** Each value is the mean over so many steps. */
  every: number;
  /** The last step of each mean. */
  steps: readonly number[];
  /** Metrics that exist at all; null where one does not. */
  values: Readonly<Record<string, readonly (number | null)[]>>;
  /** The first and the last value of each, of one step each. */
  ends: Readonly<Record<string, readonly [number, number]>>;
}

/** Points of a chart at most: more than a screen has columns would only cost bytes. */
const maxPoints = 500;

type Line = { step: number } & Metrics;

/** Sum and count of one metric over the steps of a point. */
interface Part {
  sum: number;
  count: number;
}

/**
 * Metrics by step as columns, averaged over as many steps as it takes for `maxPoints` points. Memory does not
 * grow with the number of steps.
 *
 * @param lines in the order of their steps; asked for twice: their number decides how many make a point
 */
export async function seriesOf(lines: () => AsyncIterable<Line> | Iterable<Line>): Promise<Series> {
  let count = 0;
  let start = 0;
  for await (const { step } of lines()) {
    // Step 0 is the evaluation before the first step: it stays by itself.
    if (count === 0 && step === 0) start = 1;
    count += 1;
  }
  const every = Math.max(1, Math.ceil((count - start) / maxPoints));
  const steps: number[] = [];
  const parts = new Map<string, (Part | undefined)[]>();
  const ends: Record<string, [number, number]> = {};
  let at = 0;
  for await (const { step, ...metrics } of lines()) {
    // A run that goes on may have written more since.
    if (at === count) break;
    const point = at < start ? 0 : start + Math.floor((at - start) / every);
    at += 1;
    steps[point] = step;
    for (const [name, value] of Object.entries(metrics)) {
      if (typeof value !== "number") continue;
      if (!parts.has(name)) parts.set(name, []);
      const column = parts.get(name)!;
      const { sum, count } = column[point] ?? { sum: 0, count: 0 };
      column[point] = { sum: sum + value, count: count + 1 };
      ends[name] = [ends[name]?.[0] ?? value, value];
    }
  }
  const values = Object.fromEntries(
    [...parts].map(([name, column]) => [name, steps.map((_, i) => average(column[i]))]),
  );
  return { every, steps, values, ends };
}

/** To six digits: a chart shows no more. */
function average(part: Part | undefined): number | null {
  return part === undefined ? null : Number((part.sum / part.count).toPrecision(6));
}
