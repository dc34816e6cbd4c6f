import { describe, expect, test } from "vitest";
import { bestWorstPair, bestWorstPairs } from "../../src/blocks/index.js";
import type { StepContext } from "../../src/contract/index.js";
import { groupOf } from "./trajectories.js";

describe("the best and the worst of a prompt's rollouts", () => {
  test.each<[(number | null)[], number, [number, number] | null]>([
    [[0.1, 0.9, 0.1, 0.5], 0, [1, 0]],
    [[0, 1, 1, 0], 0, [1, 0]],
    [[null, 2, null, 1, null], 0, [1, 3]],
    [[3, 1], 2, null],
    [[3, 1], 1.9, [0, 1]],
    [[1, 1, 1], 0, null],
    [[1, null], 0, null],
    [[-2, -5], 0, [0, 1]],
    [[], 0, null],
  ])("of %j, margin %d: %j", (scores, margin, want) => {
    expect(bestWorstPair(scores, margin)).toEqual(want);
  });

  test("stand in this order in their group; groups without a preference are left out", async () => {
    const measured: [string, object][] = [];
    const ctx = {
      measure: (name: string, part: object) => measured.push([name, part]),
    } as unknown as StepContext;
    const groups = [groupOf("a", [0, 1, 1, 0]), groupOf("b", [1, 1]), groupOf("c", [4, 2, 3])];
    const pairs = await bestWorstPairs().run(groups, ctx);
    expect(
      pairs.map(({ key, trajectories }) => [key, ...trajectories.map(({ id }) => id)]),
    ).toEqual([
      ["a", 1, 0],
      ["c", 0, 1],
    ]);
    expect(measured).toEqual([["pairs/formed", { kind: "mean", sum: 2, count: 3 }]]);
  });

  test("are refused where there is one rollout a prompt, and with a margin below 0", () => {
    const facts = { maxCompletionLength: 6, rewards: [], binaryRewards: true };
    expect(() => bestWorstPairs().inspect!({ ...facts, numGenerations: 1 })).toThrow(
      /at least 2 \(pairs are made of a group\) for numGenerations but received 1/,
    );
    expect(bestWorstPairs().inspect!({ ...facts, numGenerations: 2 })).toEqual([]);
    expect(() => bestWorstPairs({ margin: -1 })).toThrow(/bestWorstPairs.margin but received -1/);
  });
});
