import { describe, expect, test } from "vitest";
import { callReward, reward, rewardContext, weightedSum } from "../../src/blocks/index.js";
import type { RewardFunction, StepContext } from "../../src/contract/index.js";
import { prompt, rolloutOf } from "./trajectories.js";

const { signal } = new AbortController();

describe("the weighted sum of rewards", () => {
  test.each([
    ["adds with weights", { a: 1, b: 0.5 }, { b: 2 }, 2],
    ["leaves out what does not apply", { a: null, b: 0.5 }, {}, 0.5],
    ["is null where nothing applies", { a: null, b: null }, {}, null],
    ["is null without rewards", {}, {}, null],
    ["takes a weight of 0", { a: 1, b: 3 }, { b: 0 }, 1],
  ])("%s", (_, rewards, weights, expected) => {
    expect(weightedSum(rewards, weights)).toBe(expected);
  });
});

test("reward functions see prompts, texts and columns side by side", () => {
  const rows = [
    { ...rolloutOf(null, { prompt: prompt("a", { difficulty: 2 }) }), text: "x" },
    { ...rolloutOf(null, { prompt: prompt("b") }), text: "y" },
  ];
  const ctx = rewardContext(rows, signal);
  expect(ctx.prompts.map(({ id }) => id)).toEqual(["a", "b"]);
  expect(ctx.completions).toEqual(["x", "y"]);
  expect(ctx.columns).toEqual({ difficulty: [2, null] });
});

describe("a reward function that misbehaves is named", () => {
  const call = (fn: RewardFunction) =>
    callReward("mine", fn, rewardContext([rolloutOf(null), rolloutOf(null)], signal));

  test.each<[string, RewardFunction, RegExp]>([
    [
      "it throws",
      () => {
        throw new TypeError("no label");
      },
      /The reward "mine" threw: no label/,
    ],
    ["it rejects", async () => Promise.reject(new Error("timeout")), /threw: timeout/],
    ["too few values", () => [1], /Expected 2 values from the reward "mine"/],
    ["no array", () => 1 as never, /Expected 2 values from the reward "mine" but received 1/],
    ["NaN", () => [1, Number.NaN], /for completion 1 \(""\) but received NaN/],
    ["undefined", () => [undefined as never, 1], /for completion 0 .* but received undefined/],
  ])("%s", async (_, fn, message) => {
    await expect(call(fn)).rejects.toMatchObject({
      code: "ERR_REWARD",
      message: expect.stringMatching(message),
    });
  });
});

describe("the reward stage", () => {
  const run = { numGenerations: 2, maxCompletionLength: 4, binaryRewards: true };

  test("fills in every named reward and their sum", async () => {
    const rewards: Record<string, RewardFunction> = {
      correct: ({ completions }) => completions.map(() => 1),
      format: async () => [null, 0.5],
    };
    const plan = reward({ rewardWeights: { format: 2 } });
    const ctx = { rewards, signal } as unknown as StepContext;
    const rows = await plan.run([rolloutOf(null), rolloutOf(null)], ctx);
    expect(rows.map((row) => row.rewards)).toEqual([
      { correct: 1, format: null },
      { correct: 1, format: 0.5 },
    ]);
    expect(rows.map((row) => row.reward)).toEqual([1, 2]);
  });

  test("refuses weights of rewards that the task does not have", () => {
    const plan = reward({ rewardWeights: { corect: 1 } });
    expect(() => plan.inspect?.({ ...run, rewards: ["correct", "format"] })).toThrow(
      /received "corect" \(did you mean "correct"\?\)/,
    );
    expect(plan.inspect?.({ ...run, rewards: ["corect"] })).toEqual([]);
  });
});
