import { describe, expect, test } from "vitest";
import {
  Measures,
  rolloutMetrics,
  samplingMetrics,
  stepMetrics,
} from "../../src/trainer/metrics.js";
import { groupOf, rolloutOf } from "../blocks/trajectories.js";

describe("parts of metrics", () => {
  test("means are weighted by their counts, extremes taken over all", () => {
    const measures = new Measures();
    const part = (sum: number, count: number) => {
      measures.add("clip_ratio/low_mean", { kind: "mean", sum, count });
      measures.add("clip_ratio/low_min", { kind: "min", value: sum / count });
    };
    part(1, 10);
    part(6, 30);
    expect(measures.values()).toEqual({ "clip_ratio/low_mean": 7 / 40, "clip_ratio/low_min": 0.1 });
  });

  test("micro-batches of an update are one part", () => {
    const measures = new Measures();
    measures.add("a", { kind: "mean", sum: 1, count: 2 });
    measures.add("a", { kind: "mean", sum: 3, count: 2 });
    measures.add("b", { kind: "max", value: 1 });
    measures.add("b", { kind: "max", value: 5 });
    expect(measures.merged()).toEqual([
      ["a", { kind: "mean", sum: 4, count: 4 }],
      ["b", { kind: "max", value: 5 }],
    ]);
  });

  test.each([
    [{ kind: "mean", sum: 0, count: 0 }],
    [{ kind: "mean", sum: Number.NaN, count: 2 }],
    [{ kind: "min", value: Infinity }],
    [{ kind: "max", value: -Infinity }],
  ] as const)("%j is null", (part) => {
    const measures = new Measures();
    measures.add("x", part);
    expect(measures.values()).toEqual({ x: null });
  });
});

describe("metrics of rollouts", () => {
  test("are those of the rewards that apply", () => {
    const metrics = rolloutMetrics([groupOf("a", [1, 0, null]), groupOf("b", [1, 1, 1])]);
    expect(metrics.reward).toBeCloseTo(0.8, 12);
    expect(metrics.reward_std).toBeCloseTo(Math.sqrt(0.2), 12);
    expect(metrics.frac_reward_zero_std).toBe(0.5);
    expect(metrics["rewards/correct/mean"]).toBeCloseTo(0.8, 12);
  });

  test("tell lengths of ended and of truncated completions apart", () => {
    const rows = [
      rolloutOf(1, { length: 3 }),
      { ...rolloutOf(1, { length: 6 }), finish: "length" as const },
      { ...rolloutOf(1, { length: 6 }), finish: "abort" as const },
      rolloutOf(1, { length: 3 }),
    ];
    const metrics = rolloutMetrics([{ ...groupOf("a", []), trajectories: rows }]);
    expect(metrics).toMatchObject({
      "completions/mean_length": 4.5,
      "completions/min_length": 3,
      "completions/max_length": 6,
      "completions/mean_terminated_length": 3,
      "completions/max_terminated_length": 3,
      "completions/clipped_ratio": 0.5,
    });
  });

  test.each([
    ["no rewards", [groupOf("a", [null, null])]],
    ["one rollout", [groupOf("a", [1])]],
    ["no groups", []],
  ])("are numbers or null, never NaN: %s", (_, groups) => {
    for (const value of Object.values(rolloutMetrics(groups))) {
      expect(value === null || Number.isFinite(value)).toBe(true);
    }
    expect(rolloutMetrics(groups).reward_std).toBeNull();
  });
});

test("sampler and trainer are compared by ratio and difference", () => {
  const metrics = samplingMetrics([
    { sampler: -1, trainer: -1 },
    { sampler: -1, trainer: -2 },
  ]);
  expect(metrics["sampling/sampling_logp_difference/mean"]).toBe(0.5);
  expect(metrics["sampling/importance_sampling_ratio/min"]).toBeCloseTo(Math.exp(-1), 12);
  expect(Object.values(samplingMetrics([]))).toEqual([null, null, null, null, null]);
});

test("every step reports TRL's names", () => {
  for (const name of [
    "kl",
    "clip_ratio/region_mean",
    "completions/min_terminated_length",
    "num_tokens",
  ]) {
    expect(stepMetrics).toHaveProperty([name], null);
  }
});
