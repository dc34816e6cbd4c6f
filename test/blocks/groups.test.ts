import { describe, expect, test } from "vitest";
import {
  compensate,
  dropPivot,
  dropZeroVariance,
  intoGroups,
  isConstant,
  lowerMedian,
  perAction,
  pivotIndex,
  withColumn,
} from "../../src/blocks/index.js";
import type { Measure, StepContext } from "../../src/contract/index.js";
import { groupOf, prompt, rolloutOf } from "./trajectories.js";

describe("rollouts are put into the groups of their prompts", () => {
  test("in order, the same prompt twice makes two groups", () => {
    const prompts = [prompt("a"), prompt("b"), prompt("a")];
    const rows = [0, 1, 2, 3, 4, 5].map((id) => rolloutOf(null, { id }));
    const groups = intoGroups(prompts, rows, 2);
    expect(groups.map((group) => group.trajectories.map(({ id }) => id))).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    expect(new Set(groups.map(({ key }) => key)).size).toBe(3);
    expect(groups[2]!.trajectories[0]!.keys.prompt).toBe(2);
  });

  test("a sampler that gives another number is refused", () => {
    expect(() => intoGroups([prompt("a")], [rolloutOf(1)], 2)).toThrow(
      /1 x 2 rollouts from the sampler but received 1/,
    );
  });
});

describe("groups without a comparison", () => {
  test.each([
    [[1, 1, 1], true],
    [[1, 0], false],
    [[1, null, 1], true],
    [[1, null], true],
    [[null, null], true],
    [[], true],
  ])("%j", (rewards, expected) => {
    expect(isConstant(rewards)).toBe(expected);
  });

  test("are left out and counted", async () => {
    const parts: Record<string, Measure> = {};
    const ctx = {
      measure: (name: string, part: Measure) => {
        parts[name] = part;
      },
    } as unknown as StepContext;
    const groups = [groupOf("a", [1, 1]), groupOf("b", [1, 0]), groupOf("c", [null, 1])];
    const kept = await dropZeroVariance().run(groups, ctx);
    expect(kept.map(({ key }) => key)).toEqual(["b"]);
    expect(parts["filter/zero_variance"]).toEqual({ kind: "mean", sum: 2, count: 3 });
  });
});

describe("the pivot of a median", () => {
  test.each([
    ["the middle one", [0, 0.5, 2], 0.5, 1],
    ["the lower one of an even count", [4, 1, 3, 2], 2, 3],
    ["the first of ties", [1, 0, 0, 1, 0], 0, 1],
    ["never one without a reward", [null, 2, 1, null, 3], 2, 1],
    ["none where nothing is rewarded", [null, null], null, -1],
  ])("%s", (_, rewards, median, index) => {
    expect(lowerMedian(rewards)).toBe(median);
    expect(pivotIndex(rewards)).toBe(index);
  });

  test("exactly one row of each group goes", async () => {
    const groups = [groupOf("a", [0, 1, 0]), groupOf("b", [5, 5, 5]), groupOf("c", [null, null])];
    const kept = await dropPivot().run(groups, {} as StepContext);
    expect(kept.map((group) => group.trajectories.map(({ id }) => id))).toEqual([
      [1, 2],
      [1, 2],
      [0, 1],
    ]);
  });

  test("compensation keeps the size of the update", async () => {
    expect(compensate([-1, 0, 3])).toEqual([-1.5, 0, 4.5]);
    expect(compensate([0, 0])).toEqual([0, 0]);
    const group = groupOf("a", [0, 0.5, 2]);
    const advantages = [-1, 0, 3];
    const trajectories = group.trajectories.map((t, i) =>
      withColumn(t, "advantage", { level: "row", value: advantages[i]! }),
    );
    const groups = await dropPivot({ compensate: true }).run(
      [{ ...group, trajectories }],
      {} as never,
    );
    const values = groups[0]!.trajectories.map((t) => t.columns.advantage);
    expect(values).toEqual([
      { level: "row", value: -1.5 },
      { level: "row", value: 4.5 },
    ]);
  });
});

describe("columns at the granularity of actions", () => {
  const segments = {
    level: "segment" as const,
    values: Float32Array.of(1, 2),
    bounds: Int32Array.of(0, 1, 3),
  };

  test("rows and segments are spread out", () => {
    expect([...perAction("c", { level: "row", value: 2 }, 3)]).toEqual([2, 2, 2]);
    expect([...perAction("c", segments, 3)]).toEqual([1, 2, 2]);
  });

  test("what does not cover the actions is refused", () => {
    expect(() => perAction("c", segments, 4)).toThrow(/3 bounds from 0 to 4 in column "c"/);
    const values = Float32Array.of(1);
    expect(() => perAction("c", { level: "action", values }, 2)).toThrow(/Expected 2 values/);
  });
});
