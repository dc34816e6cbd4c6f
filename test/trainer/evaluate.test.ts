import { describe, expect, test } from "vitest";
import type { RewardContext } from "../../src/contract/index.js";
import { majorityVote, passAtK } from "../../src/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { shortTask, small } from "./runs.js";

describe("pass@k", () => {
  test("is the share of k-subsets with a right answer", () => {
    // By counting: n = 5 answers, c = 2 right ones, all subsets of k.
    const subsets = (k: number) =>
      Array.from({ length: 32 }, (_, bits) =>
        [0, 1, 2, 3, 4].filter((i) => (bits >> i) & 1),
      ).filter((subset) => subset.length === k);
    for (const k of [1, 2, 3, 4, 5]) {
      const all = subsets(k);
      const share = all.filter((subset) => subset.some((i) => i < 2)).length / all.length;
      expect(passAtK(5, 2, k)).toBeCloseTo(share, 12);
    }
    expect(passAtK(7, 0, 3)).toBe(0);
    expect(passAtK(2000, 3, 1000)).toBeCloseTo(0.8752, 3);
  });

  test("needs as many answers as k", () => {
    expect(() => passAtK(3, 1, 4)).toThrow(/integer in \[4, .*for n but received 3/);
    expect(() => passAtK(3, 4, 1)).toThrow(/for c but received 4/);
  });
});

test("a majority is the most frequent answer, the first of equals; who says nothing has no vote", () => {
  expect(majorityVote(["a", "b", "b"])).toBe(1);
  expect(majorityVote(["a", "b", "b", "a"])).toBe(0);
  expect(majorityVote([null, null, "c"])).toBe(2);
  expect(majorityVote([null, null])).toBeNull();
  expect(majorityVote([])).toBeNull();
});

describe("an evaluation", () => {
  // Right are rollouts whose number within their prompt says so: answers do not depend on the policy.
  const evaluated = async (pattern: readonly number[], more: TrainOptions) => {
    const samples = pattern.length;
    const task = {
      ...shortTask,
      rewards: {
        correct: ({ completions }: RewardContext) =>
          completions.map((_, i) => pattern[i % samples]!),
      },
    };
    const options = { ...small, task, warmStart: false, steps: 0, evalSamples: samples, ...more };
    return (await train(options)).start;
  };

  test("counts what is asked for, and only that", async () => {
    const pattern = [1, 0, 0, 1];
    expect(await evaluated(pattern, {})).toEqual({ "eval/accuracy": 0.5 });
    const metrics = await evaluated(pattern, { evalPassAtK: [1, 2, 4] });
    expect(metrics).toEqual({
      "eval/accuracy": 0.5,
      "eval/pass@1": 0.5,
      // One of six pairs has no right answer.
      "eval/pass@2": expect.closeTo(5 / 6, 12),
      "eval/pass@4": 1,
    });
  });

  test("greedy answers are one a prompt, the same whenever they are asked for", async () => {
    const texts: string[][] = [];
    const correct = shortTask.rewards.correct!;
    const task = {
      ...shortTask,
      rewards: {
        correct: (ctx: RewardContext) => {
          if (ctx.completions.length === 4) texts.push([...ctx.completions]);
          return correct(ctx);
        },
      },
    };
    const still = { ...small, task, steps: 1, learningRate: 0, evalGreedy: true };
    const { start, metrics } = await train(still);
    expect(texts).toHaveLength(2);
    expect(texts[1]).toEqual(texts[0]);
    expect(metrics["eval/greedy_accuracy"]).toBe(start["eval/greedy_accuracy"]);
  });

  test("majority votes count answers as the task tells them apart", async () => {
    const answers = ["x", "y", "y", "z", "x", "x"];
    let told = 0;
    const task = {
      ...shortTask,
      answer: () => answers[told++ % answers.length]!,
      rewards: {
        // Right is y.
        correct: ({ completions }: RewardContext) =>
          completions.map((_, i) => (answers[i % answers.length] === "y" ? 1 : 0)),
      },
    };
    const base: TrainOptions = { ...small, task, warmStart: false, steps: 0, evalSamples: 6 };
    // Votes of three: x y y -> y, z x x -> x.
    const { start } = await train({ ...base, evalMajAtK: [3] });
    expect(start["eval/maj@3"]).toBe(0.5);
    told = 0;
    // All six: x wins with three.
    expect((await train({ ...base, evalMajAtK: [6] })).start["eval/maj@6"]).toBe(0);
  });

  test("further sets are sampled, under their own names; steps without an evaluation say null", async () => {
    const task = {
      ...shortTask,
      evaluations: { "judge/accuracy": shortTask.evaluation.slice(0, 2) },
    };
    const lines: object[] = [];
    await train({
      ...{ ...small, task, warmStart: false, steps: 2, evalPassAtK: [2] },
      onStep: ({ metrics }) => lines.push(metrics),
    });
    expect(lines[0]).toEqual({
      "eval/accuracy": expect.any(Number),
      "eval/pass@2": expect.any(Number),
      "judge/accuracy": expect.any(Number),
    });
    expect(lines[1]).toMatchObject({ "eval/pass@2": null, "judge/accuracy": null });
    expect(lines[2]).toMatchObject({ "judge/accuracy": expect.any(Number) });
  });

  test.each<[TrainOptions, RegExp]>([
    [{ evalPassAtK: [4] }, /at most 2 \(evalSamples\) for train\.evalPassAtK but received \[ 4 \]/],
    [{ evalMajAtK: [1, 3] }, /at most 2 \(evalSamples\) for train\.evalMajAtK/],
    [{ evalPassAtK: [1, 1] }, /different ones of an integer >= 1/],
    [{ evalPassAtK: 2 as never }, /list of .* for train\.evalPassAtK but received 2/],
  ])("refuses %j", async (options, message) => {
    await expect(train({ ...small, ...options })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
  });
});
