import { afterAll, describe, expect, test } from "vitest";
import { groupAdvantages, groupNormalize } from "../../src/blocks/index.js";
import type { StepContext, Trajectory } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { groupOf } from "./trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

describe("advantages relative to the group", () => {
  test.each([
    ["z-score with the sample std", [1, 0, 0, 0], { eps: 0 }, [1.5, -0.5, -0.5, -0.5]],
    ["centre alone", [1, 0, 0, 0], { scale: "none" }, [0.75, -0.25, -0.25, -0.25]],
    ["population std", [1, 0], { ddof: 0, eps: 0 }, [1, -1]],
    ["constant groups are exactly 0", [0.1, 0.1, 0.1], {}, [0, 0, 0]],
    [
      "a missing reward leaves the statistics",
      [1, null, 0, 0, 0],
      { eps: 0 },
      [1.5, 0, -0.5, -0.5, -0.5],
    ],
    ["one reward left", [null, 3, null], {}, [0, 0, 0]],
    ["one rollout", [3], {}, [0]],
    ["one rollout, kept as in verl", [3], { singleton: "value", eps: 0.5 }, [2]],
    ["one rollout, kept unscaled", [3], { singleton: "value", scale: "none" }, [3]],
    [
      "one reward left, kept as in verl",
      [null, 3, null],
      { singleton: "value", eps: 0 },
      [0, 3, 0],
    ],
    ["two rollouts are a group", [1, 0], { singleton: "value", ddof: 0, eps: 0 }, [1, -1]],
    [
      "median and median deviation",
      [0, 0.5, 2],
      { center: "median", scale: "median-deviation", eps: 0 },
      [-1, 0, 3],
    ],
    [
      "a median deviation of 0 leaves 1 / eps",
      [0, 0, 1],
      { center: "median", scale: "median-deviation", eps: 1e-3 },
      [0, 0, 1000],
    ],
    [
      "or the distance from the median",
      [0, 0, 1],
      { center: "median", scale: "median-deviation", zeroScale: "one" },
      [0, 0, 1],
    ],
    [
      "the mean of the others",
      [3, 1, 2, 6],
      { center: "leave-one-out", scale: "none" },
      [0, -8 / 3, -4 / 3, 4],
    ],
    [
      "a running mean",
      [1, 3],
      { center: "ema", ema: 4, emaBlend: 0.25, scale: "none" },
      [-1.5, 0.5],
    ],
  ] as const)("%s", async (_, rewards, options, expected) => {
    const groupOffsets = [0, rewards.length];
    const { advantage } = await groupAdvantages(engine, rewards, { groupOffsets, ...options });
    // Rewards and results are float32.
    advantage.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2e-7 * Math.abs(expected[i]!));
    });
  });

  test("the stage writes one column a row and leaves its input alone", async () => {
    const groups = [groupOf("a", [1, 0]), groupOf("b", [2, 2, 2])];
    const stage = groupNormalize({ eps: 0 });
    const out = await stage.run(groups, { engine } as unknown as StepContext);
    const column = (t: Trajectory) =>
      t.columns.advantage?.level === "row" ? t.columns.advantage.value : null;
    const expected = Math.fround(Math.SQRT1_2);
    expect(out[0]!.trajectories.map(column)).toEqual([expected, -expected]);
    expect(out[1]!.trajectories.map(column)).toEqual([0, 0, 0]);
    expect(groups[0]!.trajectories[0]!.columns).toEqual({});
  });

  test("the stage tells the kernel every option that applies", async () => {
    const groups = [groupOf("a", [0, 2]), groupOf("b", [0, 4]), groupOf("c", [7])];
    const options = {
      scope: "blend",
      scopeBlend: 0.5,
      ddof: 0,
      eps: 0,
      singleton: "value",
    } as const;
    const out = await groupNormalize(options).run(groups, { engine } as unknown as StepContext);
    const rewards = groups.flatMap((group) => group.trajectories.map((t) => t.reward));
    const want = await groupAdvantages(engine, rewards, { groupOffsets: [0, 2, 4, 5], ...options });
    const got = out.flatMap(({ trajectories }) => trajectories.map((t) => t.columns.advantage));
    expect(got).toEqual(want.advantage.map((value) => ({ level: "row", value })));
  });

  test("binary rewards under a scale that they make 0 are warned of", () => {
    const warn = (options: Parameters<typeof groupNormalize>[0]) =>
      groupNormalize(options).inspect!({ binaryRewards: true } as never);
    const median = { center: "median", scale: "median-deviation" } as const;
    const others = { center: "leave-one-out", scale: "leave-one-out-std" } as const;
    expect(warn({ ...median, eps: 1e-3 })).toEqual([expect.stringContaining("+-1/eps = 1000")]);
    expect(warn({ ...median, eps: 0 })).toEqual([expect.stringContaining("are 0 too")]);
    expect(warn(others)).toEqual([expect.stringContaining("only success or failure of a group")]);
    for (const options of [{}, { ...median, zeroScale: "one" }, { ...others, zeroScale: "one" }]) {
      expect(warn(options as typeof median)).toEqual([]);
    }
  });
});
