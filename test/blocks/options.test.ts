import { describe, expect, test } from "vitest";
import {
  dropPivot,
  extraRollouts,
  groupNormalize,
  reward,
  rollout,
  surrogate,
} from "../../src/blocks/index.js";
import { FiresteelError } from "../../src/engine/error.js";
import { atStep } from "../../src/options/option.js";

/** The message of the ERR_OPTION that a call throws. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    expect((error as FiresteelError).code).toBe("ERR_OPTION");
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}

// What a caller without types could write.
const loose = (value: unknown) => value as never;

describe("options that are wrong are refused, naming what was expected and what came", () => {
  test.each([
    [
      "an unknown name, with the nearest one",
      () => surrogate(loose({ epsilonHig: 0.3 })),
      /in surrogate but received "epsilonHig" \(did you mean "epsilonHigh"\?\)/,
    ],
    [
      "a block without options",
      () => dropPivot(loose({ pivot: 1 })),
      /only "compensate" in dropPivot but received "pivot"/,
    ],
    [
      "a wrong choice, with the nearest one",
      () => groupNormalize(loose({ center: "meen" })),
      /one of "none", "mean", "median", "leave-one-out" for groupNormalize\.center but received "meen" \(did you mean "mean"\?\)/,
    ],
    [
      "a wrong type",
      () => surrogate(loose({ epsilon: "0.2" })),
      /a number >= 0, or \{ schedule: "linear".* for surrogate\.epsilon but received "0\.2"/,
    ],
    ["NaN", () => groupNormalize({ eps: Number.NaN }), /groupNormalize\.eps but received NaN/],
    ["infinity", () => surrogate({ beta: Infinity }), /surrogate\.beta but received Infinity/],
    ["a negative", () => groupNormalize({ eps: -1 }), /a number >= 0 .* received -1/],
    ["a fraction", () => extraRollouts(1.5), /an integer >= 1 .* received 1\.5/],
    ["nothing", () => rollout({ numGenerations: 0 }), /rollout\.numGenerations but received 0/],
    ["no object", () => groupNormalize(loose(7)), /an object for the options of groupNormalize/],
    ["null", () => groupNormalize(loose(null)), /an object for the options of groupNormalize/],
    [
      "a name within a schedule",
      () => surrogate(loose({ beta: { schedule: "linear", from: 0, to: 1, step: 3 } })),
      /surrogate\.beta but received \{ schedule: 'linear', from: 0, to: 1, step: 3 \}/,
    ],
    [
      "a weight that is no number",
      () => reward(loose({ rewardWeights: { correct: "2" } })),
      /an object of numbers for reward\.rewardWeights/,
    ],
    [
      "one that does not apply beside the others: ddof",
      () => groupNormalize({ scale: "none", ddof: 0 }),
      /nothing \(scale is "none"\) for groupNormalize\.ddof but received 0/,
    ],
    [
      "choices that do not go together",
      () => groupNormalize({ scale: "leave-one-out-std" }),
      /leave-one-out-std" of scope "group" is refused: .* \(nearest: center: "leave-one-out"\)/,
    ],
    [
      "a centre that a stage cannot keep",
      () => groupNormalize(loose({ center: "ema", ema: 0 })),
      /received "ema"/,
    ],
    [
      "one that does not apply beside the others: klEstimator",
      () => surrogate({ klEstimator: "k1" }),
      /nothing \(beta is 0\) for surrogate\.klEstimator but received "k1"/,
    ],
    [
      "one that does not apply beside the others: horizon",
      () => surrogate({ aggregation: "token-mean", horizon: 8 }),
      /nothing \(aggregation is "token-mean"\) for surrogate\.horizon/,
    ],
    [
      "contradictory ones",
      () => surrogate({ mismatch: "token-mask", mismatchLow: 2, mismatchHigh: 1 }),
      /a number >= mismatchLow for surrogate\.mismatchHigh but received 1/,
    ],
  ])("%s", (_, call, message) => {
    expect(refusal(call)).toMatch(message);
  });
});

describe("a block shows every option with its value", () => {
  test("defaults and given values", () => {
    const { options } = groupNormalize({ center: "median", scale: "median-deviation", eps: 1e-3 });
    const values = Object.fromEntries(options.map(({ name, value }) => [name, value]));
    expect(values).toEqual({
      conventions: "trl",
      center: "median",
      scale: "median-deviation",
      scope: "group",
      scopeBlend: null,
      ddof: null,
      eps: 1e-3,
      epsPlacement: "outside",
      zeroScale: "eps",
      singleton: "zero",
    });
    for (const option of options) expect(option.description).not.toBe("");
  });

  test("defaults follow the conventions, what is given holds", () => {
    const options = (given: object) =>
      Object.fromEntries(groupNormalize(given).options.map(({ name, value }) => [name, value]));
    const verl = { conventions: "verl", eps: 1e-6, singleton: "value" };
    expect(options({ conventions: "verl" })).toMatchObject(verl);
    expect(options({ conventions: "verl", eps: 0.5 })).toMatchObject({ ...verl, eps: 0.5 });
    expect(options({ conventions: "openrlhf" })).toMatchObject({ eps: 1e-9, singleton: "zero" });
    expect(() => options({ conventions: "tlr" })).toThrow(/for conventions .*did you mean "trl"/);
  });

  test("an option without meaning beside the others is null", () => {
    const { options } = groupNormalize({ scale: "none" });
    expect(options.filter(({ value }) => value === null).map(({ name }) => name)).toEqual([
      "scope",
      "scopeBlend",
      "ddof",
      "eps",
      "epsPlacement",
      "zeroScale",
    ]);
  });
});

test("a linear schedule starts at `from` and stays at `to`", () => {
  const schedule = { schedule: "linear", from: 1, to: 0, steps: 4 } as const;
  expect([1, 2, 3, 5, 9].map((step) => atStep(schedule, step))).toEqual([1, 0.75, 0.5, 0, 0]);
  expect(atStep(0.3, 7)).toBe(0.3);
});
