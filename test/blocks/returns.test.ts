import { describe, expect, test } from "vitest";
import {
  clippedValueLoss,
  constantAdvantage,
  discountedReturns,
  explainedVariance,
  generalizedAdvantage,
  generalizedAdvantages,
  overlongPenalty,
  reward,
  rewardToGo,
  softOverlong,
  teacherAdvantage,
  teacherAdvantages,
} from "../../src/blocks/index.js";
import type { StepContext } from "../../src/contract/index.js";
import { finiteDifference } from "../../src/reference/finiteDifference.js";
import { groupOf, rolloutOf } from "./trajectories.js";

const noContext = {} as StepContext;

describe("discounted returns", () => {
  test.each<[number[], number[], number, number[]]>([
    [[0, 0, 1], [1, 1, 1], 1, [1, 1, 1]],
    [[0, 0, 1], [1, 1, 1], 0.5, [0.25, 0.5, 1]],
    [[1, 9, 2], [1, 0, 1], 0.5, [2, 0, 2]],
    [[1, 2], [0, 0], 1, [0, 0]],
    [[], [], 1, []],
  ])("rewards %j, mask %j, gamma %d", (rewards, mask, gamma, want) => {
    expect(discountedReturns(rewards, mask, gamma)).toEqual(want);
  });

  test("of the reward at the last trained action", async () => {
    const rollout = { ...rolloutOf(2, { length: 4 }), mask: Uint8Array.of(1, 0, 1, 0) };
    const group = { ...groupOf("a", []), trajectories: [rollout, rolloutOf(null)] };
    const [out] = await rewardToGo({ gamma: 0.5 }).run([group], noContext);
    expect(out!.trajectories.map((t) => t.columns.advantage)).toEqual([
      { level: "action", values: Float32Array.of(1, 0, 2, 0) },
      { level: "action", values: Float32Array.of(0, 0) },
    ]);
  });

  test("add what single actions were charged", async () => {
    const tokenReward = { level: "action", values: Float32Array.of(-0.5, -9, -0.25) } as const;
    const rollout = {
      ...rolloutOf(1, { length: 3, columns: { tokenReward } }),
      mask: Uint8Array.of(1, 0, 1),
    };
    const [out] = await rewardToGo().run(
      [{ ...groupOf("a", []), trajectories: [rollout] }],
      noContext,
    );
    expect(out!.trajectories[0]!.columns.advantage).toEqual({
      level: "action",
      values: Float32Array.of(0.25, 0, 0.75),
    });
  });

  test("refuse what does not fit", () => {
    expect(() => discountedReturns([1], [1, 1])).toThrow(/1 values, as in rewards, for mask/);
    expect(() => rewardToGo({ gamma: 1.5 })).toThrow(/rewardToGo.gamma but received 1.5/);
  });
});

describe("generalised advantages", () => {
  test("lambda 1 gives returns minus values, lambda 0 the temporal differences", () => {
    const [rewards, values] = [
      [0, 1, 2],
      [0.5, 0.25, 0.75],
    ];
    const all = [1, 1, 1];
    const monteCarlo = generalizedAdvantages(rewards, values, all, { gamma: 0.5, lambda: 1 });
    expect(monteCarlo.returns).toEqual([1, 2, 2]);
    const differences = generalizedAdvantages(rewards, values, all, { gamma: 0.5, lambda: 0 });
    expect(differences.advantages).toEqual([-0.375, 1.125, 1.25]);
  });

  test("pass over observations unchanged", () => {
    const with0 = generalizedAdvantages([1, 7, 2], [0.5, 9, 0.25], [1, 0, 1], { gamma: 0.5 });
    const without = generalizedAdvantages([1, 2], [0.5, 0.25], [1, 1], { gamma: 0.5 });
    expect([with0.advantages[0], with0.advantages[2]]).toEqual(without.advantages);
    expect(with0.advantages[1]).toBe(without.advantages[1]);
  });

  test("refuse what does not fit", () => {
    expect(() => generalizedAdvantages([1], [1, 2], [1])).toThrow(/for values but received 2/);
    expect(() => generalizedAdvantages([1], [1], [])).toThrow(/for mask but received 0/);
  });
});

describe("advantages over a value head", () => {
  const rollout = (reward: number | null, mask: number[], own?: number[]) => ({
    ...rolloutOf(reward, {
      length: mask.length,
      ...(own && {
        columns: { tokenReward: { level: "action", values: Float32Array.from(own) } } as const,
      }),
    }),
    mask: Uint8Array.from(mask),
  });
  const rows = [rollout(2, [1, 0, 1]), rollout(null, [1, 1], [-0.5, 0.25])];
  const values = [Float32Array.of(0.5, 9, 1), Float32Array.of(0.25, 0.75)];

  test("take the reward at the last trained action and the tokens' own, and say what they stand on", async () => {
    const measured: Record<string, unknown> = {};
    const ctx = {
      values: async () => values.map((own) => ({ level: "action", values: own })),
      measure: (name: string, part: unknown) => {
        measured[name] = part;
      },
    } as unknown as StepContext;
    const group = { ...groupOf("a", []), trajectories: rows };
    const [out] = await generalizedAdvantage({ gamma: 0.5, lambda: 1 }).run([group], ctx);
    const column = (name: string) =>
      out!.trajectories.map(({ columns: { [name]: c } }) =>
        c?.level === "action" ? [...c.values] : c,
      );
    // 2 at the last action; the observation passes on what follows it.
    expect(column("advantage")).toEqual([
      [0.5, 1, 1],
      [-0.625, -0.5],
    ]);
    expect(column("return")).toEqual([
      [1, 10, 2],
      [-0.375, 0.25],
    ]);
    expect(column("value")).toEqual(values.map((own) => [...own]));
    const explained = explainedVariance([1, 2, -0.375, 0.25], [0.5, 1, 0.25, 0.75], [1, 1, 1, 1])!;
    expect(measured.explained_variance).toEqual({ kind: "mean", sum: explained, count: 1 });
  });

  test("are refused without a value head, and with a discount beyond 1", () => {
    const facts = { numGenerations: 2, maxCompletionLength: 9, rewards: [], binaryRewards: true };
    expect(() => generalizedAdvantage().inspect!({ ...facts, valueHead: false })).toThrow(
      /a policy with a value head for generalizedAdvantage/,
    );
    expect(() => generalizedAdvantage({ lambda: 2 })).toThrow(
      /generalizedAdvantage.lambda but received 2/,
    );
  });

  test("the explained variance is that of the trained actions", () => {
    expect(explainedVariance([0, 2, 99], [0, 2, 0], [1, 1, 0])).toBe(1);
    expect(explainedVariance([0, 2], [5, 5], [1, 1])).toBe(0);
    expect(explainedVariance([0, 2], [2, 0], [1, 1])).toBe(-3);
    expect(explainedVariance([1, 1], [0, 3], [1, 1])).toBeNull();
    expect(explainedVariance([1, 2], [0, 3], [0, 0])).toBeNull();
  });
});

test("a constant advantage is every row's, whatever its reward", async () => {
  const [group] = await constantAdvantage({ value: 3 }).run([groupOf("a", [1, null])], noContext);
  expect(group!.trajectories.map((t) => t.columns.advantage)).toEqual([
    { level: "row", value: 3 },
    { level: "row", value: 3 },
  ]);
});

describe("the clipped value loss", () => {
  test.each<[number, number, number]>([
    [2, 1, 1],
    [1.1, 1, 3],
    [0.5, 1, 2],
    [0.5, 1, 0],
    [3, 1, 0.5],
  ])(
    "V %d, old %d, return %d: the greater of both arms, and its gradient",
    (value, old, target) => {
      const { loss, gradient } = clippedValueLoss(value, old, target, 0.2);
      const held = Math.min(Math.max(value, old - 0.2), old + 0.2);
      expect(loss).toBe(Math.max((value - target) ** 2, (held - target) ** 2) / 2);
      const [slope] = finiteDifference(
        ([v]) => clippedValueLoss(v!, old, target, 0.2).loss,
        [value],
      );
      expect(gradient).toBeCloseTo(slope!, 6);
    },
  );
});

describe("the overlong penalty", () => {
  test.each([
    [0, 0],
    [6, 0],
    [7, -0.25],
    [10, -1],
    [50, -1],
  ])("of %d tokens, 10 at most with a buffer of 4: %d", (length, want) => {
    expect(softOverlong(length, { maxLength: 10, buffer: 4 })).toBeCloseTo(want, 12);
  });

  test("is a reward of its own, added to what the plan gives", async () => {
    const plan = overlongPenalty(reward(), { maxLength: 4, buffer: 2, factor: 0.5 });
    const ctx = {
      rewards: { correct: () => [1, null] },
      settings: { maxCompletionLength: 10 },
      signal: new AbortController().signal,
    } as unknown as StepContext;
    const rows = [rolloutOf(0, { length: 3 }), rolloutOf(0, { length: 9 })];
    const [first, second] = await plan.run(rows, ctx);
    expect(first).toMatchObject({ rewards: { correct: 1, overlong: -0.25 }, reward: 0.75 });
    expect(second).toMatchObject({ rewards: { correct: null, overlong: -0.5 }, reward: null });
    expect(plan.options.map(({ name }) => name)).toContain("buffer");
  });

  test("begins by default after four fifths of the run's length", async () => {
    const ctx = {
      rewards: { correct: () => [0, 0, 0] },
      settings: { maxCompletionLength: 10 },
      signal: new AbortController().signal,
    } as unknown as StepContext;
    const rows = [8, 9, 10].map((length) => rolloutOf(0, { length }));
    const rewarded = await overlongPenalty(reward()).run(rows, ctx);
    expect(rewarded.map((t) => t.rewards.overlong)).toEqual([0, -0.5, -1]);
  });

  test("refuses a buffer that is longer than the length, and a reward of its name", () => {
    expect(() => overlongPenalty(reward(), { maxLength: 4, buffer: 5 })).toThrow(
      /a number <= maxLength = 4 for overlongPenalty.buffer but received 5/,
    );
    const facts = { numGenerations: 2, maxCompletionLength: 9, binaryRewards: true };
    const inspect = (more: object, options = {}) =>
      overlongPenalty(reward(), options).inspect!({ ...facts, rewards: [], ...more });
    expect(() => inspect({ rewards: ["overlong"] })).toThrow(/no reward named "overlong"/);
    expect(() => inspect({}, { buffer: 12 })).toThrow(
      /maxCompletionLength = 9 for overlongPenalty.buffer but received 12/,
    );
    expect(() => inspect({ maxCompletionLength: 0 })).toThrow(
      /maxCompletionLength is not known\) for overlongPenalty.maxLength but received null/,
    );
  });
});

test("a teacher's advantage is its log-prob minus the student's", async () => {
  expect(teacherAdvantages([-1, -2], [-3, -1])).toEqual([-2, 1]);
  expect(() => teacherAdvantages([1], [])).toThrow(/1 values, as in studentLogProb,/);
  const score = (value: number) => [{ level: "action", values: Float32Array.of(value, value) }];
  const measured: [string, object][] = [];
  const ctx = {
    score: async (_: unknown, how?: { model?: string }) => score(how?.model ? -1 : -3),
    measure: (name: string, part: object) => measured.push([name, part]),
  } as unknown as StepContext;
  const [group] = await teacherAdvantage().run([groupOf("a", [1])], ctx);
  expect(group!.trajectories[0]!.columns.advantage).toEqual(score(2)[0]);
  expect(measured).toEqual([["teacher/kl", { kind: "mean", sum: -4, count: 2 }]]);
});
