import { describe, expect, test } from "vitest";
import { meanInterval, tQuantile } from "../../src/index.js";

describe("quantiles of Student's t", () => {
  // Tables of the distribution, to the digits that they print; df 1 and 2 have closed forms.
  test.each([
    [0.975, 1, Math.tan(0.475 * Math.PI)],
    [0.975, 2, 0.95 / Math.sqrt(2 * 0.975 * 0.025)],
    [0.975, 3, 3.182446],
    [0.95, 4, 2.131847],
    [0.995, 5, 4.032143],
    [0.975, 10, 2.228139],
    [0.9, 29, 1.311434],
    [0.975, 1000, 1.962339],
  ])("p %d, df %d", (p, df, want) => {
    expect(tQuantile(p, df)).toBeCloseTo(want, 6);
  });

  test("are symmetric, 0 in the middle, and come near the normal distribution's", () => {
    expect(tQuantile(0.1, 7)).toBe(-tQuantile(0.9, 7));
    expect(Math.abs(tQuantile(0.5, 3))).toBeLessThan(1e-12);
    expect(tQuantile(0.975, 1e6)).toBeCloseTo(1.959966, 5);
  });

  test.each([
    [0, 1],
    [1, 1],
    [Number.NaN, 1],
    [0.9, 0],
    [0.9, 1.5],
  ])("p %d with df %d is refused", (p, df) => {
    expect(() => tQuantile(p, df)).toThrow(/Expected (a number in \(0, 1\)|an integer)/);
  });
});

describe("the interval of a mean", () => {
  test("is mean -+ t s / sqrt(n)", () => {
    // s = 1, n = 3, t = 4.302653.
    const { mean, low, high } = meanInterval([1, 2, 3])!;
    expect(mean).toBe(2);
    expect(high - 2).toBeCloseTo(4.302653 / Math.sqrt(3), 5);
    expect(2 - low).toBeCloseTo(high - 2, 12);
    expect(meanInterval([1, 2, 3], 0.9)!.high).toBeCloseTo(2 + 2.919986 / Math.sqrt(3), 5);
  });

  test("is a point where all are equal, and nothing for one value", () => {
    expect(meanInterval([5, 5])).toEqual({ mean: 5, low: 5, high: 5 });
    expect(meanInterval([5])).toBeNull();
    expect(meanInterval([])).toBeNull();
  });
});
