import type { Metrics } from "../contract/metrics.js";
import { mean } from "../statistics/mean.js";

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

/** Metrics by step as columns, averaged over as many steps as it takes for `maxPoints` points. */
export function seriesOf(lines: readonly ({ step: number } & Metrics)[]): Series {
  // Step 0 is the evaluation before the first step: it stays by itself.
  const [start, rest] = lines[0]?.step === 0 ? [[lines[0]], lines.slice(1)] : [[], lines];
  const every = Math.max(1, Math.ceil(rest.length / maxPoints));
  const parts: (readonly Metrics[])[] = [...start.map((line) => [line])];
  for (let i = 0; i < rest.length; i += every) parts.push(rest.slice(i, i + every));
  const names = new Set(lines.flatMap((line) => Object.keys(line)));
  names.delete("step");
  const values: Record<string, (number | null)[]> = {};
  const ends: Record<string, readonly [number, number]> = {};
  for (const name of names) {
    const present = numbersOf(name, lines);
    if (present.length === 0) continue;
    values[name] = parts.map((part) => average(numbersOf(name, part)));
    ends[name] = [present[0]!, present.at(-1)!];
  }
  return { every, steps: parts.map((part) => part.at(-1)!.step!), values, ends };
}

function numbersOf(name: string, lines: readonly Metrics[]): number[] {
  return lines.map((line) => line[name]).filter((value) => typeof value === "number");
}

/** To six digits: a chart shows no more. */
function average(present: readonly number[]): number | null {
  const value = mean(present);
  return value === null ? null : Number(value.toPrecision(6));
}
