import { expect, it } from "vitest";
import { bestOf, type Ceilings, limitOf } from "../../src/bench/ceiling.js";
import { evaluate } from "../../src/bench/formula.js";
import { summarize } from "../../src/bench/measure.js";

const ceilings: Ceilings = {
  readGbPerS: 40,
  scaleGbPerS: 20,
  updateGbPerS: 40,
  gemmGflopPerS: 100,
  callMs: 0.001,
};

it("formulas are sums of products of numbers and sizes", () => {
  expect(evaluate("b*T*V + 16*T", { b: 2, T: 3, V: 5 })).toBe(30 + 48);
  expect(evaluate("7", {})).toBe(7);
  expect(() => evaluate("4*W", { T: 1 })).toThrow('No size "W"');
});

it("a median and its spread", () => {
  const ms = [5, 1, 3, 2, 4, 6, 11, 8, 9, 10, 7];
  expect(summarize(ms)).toEqual({ medianMs: 6, p20Ms: 3, p80Ms: 9, samples: 11 });
});

it("what only reads is bound by reading, what reads and writes as much by scale", () => {
  expect(limitOf({ reads: 40e6, writes: 0, flops: 0 }, ceilings).ms).toBeCloseTo(1, 12);
  expect(limitOf({ reads: 10e6, writes: 10e6, flops: 0 }, ceilings).ms).toBeCloseTo(1, 12);
  const inPlace = { reads: 10e6, writes: 10e6, flops: 0, inPlace: true };
  expect(limitOf(inPlace, ceilings)).toEqual({ ms: 0.5, ceiling: "memory" });
});

it("the slower of memory and products binds; a small case is held against a call", () => {
  const heavy = { reads: 40e6, writes: 0, flops: 200e6 };
  expect(limitOf(heavy, ceilings)).toEqual({ ms: 2, ceiling: "gemm" });
  expect(limitOf(heavy, ceilings, true)).toEqual({ ms: 0.001, ceiling: "call" });
});

it("of two measurements of the ceilings each one's better counts", () => {
  const other = { ...ceilings, readGbPerS: 30, gemmGflopPerS: 120, callMs: 0.002 };
  expect(bestOf(ceilings, other)).toEqual({ ...ceilings, gemmGflopPerS: 120 });
});
