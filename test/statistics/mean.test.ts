import { describe, expect, test } from "vitest";
import { mean, sampleStd } from "../../src/statistics/mean.js";
import { weightedIndex } from "../../src/statistics/weightedIndex.js";

describe("mean", () => {
  test("leaves out what is not there", () => {
    expect(mean([1, null, 4])).toBe(2.5);
    expect(mean([null])).toBeNull();
  });

  test("sample std needs two values", () => {
    expect(sampleStd([3])).toBeNull();
    expect(sampleStd([1, 3])).toBeCloseTo(Math.SQRT2, 12);
  });
});

describe("weightedIndex", () => {
  test("gives each its share of [0, 1)", () => {
    const drawn = Array.from({ length: 100 }, (_, i) => weightedIndex([1, 0, 3], i / 100));
    expect(drawn.filter((i) => i === 0)).toHaveLength(25);
    expect(drawn.filter((i) => i === 1)).toHaveLength(0);
    expect(drawn.filter((i) => i === 2)).toHaveLength(75);
  });
});
