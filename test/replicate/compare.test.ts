import { describe, expect, test } from "vitest";
import { type ArmRun, allOf, atEnd, exceeds, overRun } from "../../src/index.js";
import { judgeAll, judgeInterval, resultsOf } from "../../src/replicate/compare.js";

const run = (seed: number, accuracy: (number | null)[]): ArmRun => ({
  seed,
  seconds: 1,
  steps: accuracy.map((value, step) => ({ step, metrics: { accuracy: value } })),
});
const ends = (...values: (number | null)[]) => values.map((value, i) => run(i + 1, [null, value]));
const accuracy = atEnd("accuracy");

describe("measures of a run", () => {
  test("at the end is the last value that exists", () => {
    expect(accuracy.of(run(1, [0.1, 0.5, null]))).toBe(0.5);
    expect(accuracy.of(run(1, [null]))).toBeNull();
  });

  test("over the run is the mean without the start", () => {
    expect(overRun("accuracy").of(run(1, [0, 0.5, null, 1]))).toBe(0.75);
    expect(overRun("accuracy").of(run(1, [0.5]))).toBeNull();
  });
});

describe("the rule", () => {
  test.each<[[number, number] | null, number, string]>([
    [[0.1, 0.2], 0.1, "yes"],
    [[0.1, 0.2], 0.15, "inconclusive"],
    [[0.1, 0.2], 0.2, "inconclusive"],
    [[0.1, 0.2], 0.21, "no"],
    [[-0.01, 0.03], -0.02, "yes"],
    [null, 0, "inconclusive"],
  ])("interval %j, asked for %d: %s", (interval, by, want) => {
    expect(judgeInterval(interval, by)).toBe(want);
  });

  test.each<[("yes" | "no" | "inconclusive")[], string]>([
    [["yes", "yes"], "yes"],
    [["yes", "inconclusive"], "inconclusive"],
    [["inconclusive", "no"], "no"],
  ])("%j together: %s", (all, want) => {
    expect(judgeAll(all.map((shown) => ({ shown })))).toBe(want);
  });
});

describe("a comparison", () => {
  const results = resultsOf(
    new Map([
      ["system", ends(0.9, 0.8, 1)],
      ["weak", ends(0.1, 0.2, 0.3)],
      ["strong", ends(0.5, 0.5, 0.5)],
      ["holes", ends(0.7, null, null)],
    ]),
  );
  const judge = (baselines: [string, ...string[]], by: number) =>
    exceeds({ arm: "system", baselines, measure: accuracy, by })(results)[0]!;

  test("holds the arm against the stronger baseline, paired by seed", () => {
    const found = judge(["weak", "strong"], 0.2);
    expect(found).toMatchObject({ baseline: "strong", baselineValues: [0.5, 0.5, 0.5] });
    // Differences .4, .3, .5: mean .4, s .1, t 4.302653.
    const half = (4.302653 * 0.1) / Math.sqrt(3);
    expect(found.difference).toBeCloseTo(0.4, 12);
    expect(found.interval![0]).toBeCloseTo(0.4 - half, 6);
    expect(found.interval![1]).toBeCloseTo(0.4 + half, 6);
    expect(found.shown).toBe("inconclusive");
    expect(judge(["strong"], 0.1).shown).toBe("yes");
    expect(judge(["strong"], 0.7).shown).toBe("no");
  });

  test("counts the other way round where lower is better", () => {
    const tokens = atEnd("accuracy", "lower");
    const all = exceeds({ arm: "weak", baselines: ["strong", "system"], measure: tokens, by: 0 });
    const [found] = all(results);
    expect(found!.baseline).toBe("strong");
    expect(found!.difference).toBeCloseTo(0.3, 12);
  });

  test("leaves out seeds without a value, and says nothing on one seed alone", () => {
    const found = judge(["holes"], 0);
    expect(found).toMatchObject({ interval: null, shown: "inconclusive" });
    expect(found.difference).toBeCloseTo(0.2, 12);
  });

  test("comes several times where a claim has several conditions", () => {
    const by = (margin: number) =>
      exceeds({ arm: "system", baselines: ["strong"], measure: accuracy, by: margin });
    const found = allOf(by(0.1), by(-0.02))(results);
    expect(found.map(({ by: asked, shown }) => [asked, shown])).toEqual([
      [0.1, "yes"],
      [-0.02, "yes"],
    ]);
  });

  test("names an arm that is not there", () => {
    expect(() => judge(["strnog"], 0)).toThrow(/one of the claim's arms \("system", .*"strnog"/);
  });
});
