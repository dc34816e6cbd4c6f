import { aNumber, checkArguments, listOf } from "../engine/arguments.js";
import { mean } from "./mean.js";
import { tQuantile } from "./studentT.js";

/** The mean of some values, and where that of all could lie. */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/**
 * Student's t interval of a mean: mean -+ t s / sqrt(n), with the sample standard deviation s.
 *
 * @param confidence in (0, 1), default 0.95, two-sided
 * @returns null for fewer than two values
 */
export function meanInterval(values: readonly number[], confidence = 0.95): Interval | null {
  checkArguments({ values, confidence }, { values: listOf(aNumber), confidence: aNumber });
  const n = values.length;
  if (n < 2) return null;
  const center = mean(values)!;
  const squares = values.reduce((sum, value) => sum + (value - center) ** 2, 0);
  const half = tQuantile((1 + confidence) / 2, n - 1) * Math.sqrt(squares / (n - 1) / n);
  return { mean: center, low: center - half, high: center + half };
}
