import { afterAll, describe, expect, test } from "vitest";
import {
  compensate,
  klPenalty,
  nonzeroScale,
  reward,
  rowKl,
  scaleByNonzero,
  whiten,
  whitened,
} from "../../src/blocks/index.js";
import type { Column, Measure, StepContext, Trajectory } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { groupOf, rolloutOf } from "./trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());
const context = { engine } as unknown as StepContext;
const advantages = (groups: readonly { trajectories: readonly Trajectory[] }[]) =>
  groups.flatMap((group) => group.trajectories.map((t) => t.columns.advantage));
const withAdvantage = (value: number, length: number) =>
  rolloutOf(value, { length, columns: { advantage: { level: "row", value } } });

describe("whitening", () => {
  test("is over unmasked values alone: mean 0, sample variance 1", async () => {
    // 1, 2, 6: mean 3, sample variance 7.
    const [a, b] = await whitened(engine, [[1, Number.NaN, 2], [6]], [[1, 0, 1], [1]]);
    const root = Math.sqrt(7 + 1e-8);
    expect(a![0]).toBeCloseTo(-2 / root, 6);
    expect(a![1]).toBe(0);
    expect(a![2]).toBeCloseTo(-1 / root, 6);
    expect(b![0]).toBeCloseTo(3 / root, 6);
  });

  test("divides by the population's std as in OpenRLHF", async () => {
    const openrlhf = { ddof: 0, eps: 1e-8, epsPlacement: "floor" } as const;
    expect([...(await whitened(engine, [[1, 3]], [[1, 1]], openrlhf))[0]!]).toEqual([-1, 1]);
  });

  test("gives exactly 0 where all are equal, or masked, or nothing is there", async () => {
    expect(await whitened(engine, [[0.1, 0.1], [0.1]], [[1, 1], [1]])).toEqual([
      Float32Array.of(0, 0),
      Float32Array.of(0),
    ]);
    expect(await whitened(engine, [[1, 2]], [[0, 0]])).toEqual([Float32Array.of(0, 0)]);
    expect(await whitened(engine, [], [])).toEqual([]);
  });

  test("weighs long rows more: a row's advantage counts once a token", async () => {
    const group = {
      ...groupOf("a", []),
      trajectories: [withAdvantage(1, 3), withAdvantage(-1, 1)],
    };
    // 1, 1, 1, -1: mean .5, sample variance 1.
    const [long, short] = advantages(await whiten({ eps: 0 }).run([group], context));
    expect(long).toEqual({ level: "action", values: Float32Array.of(0.5, 0.5, 0.5) });
    expect(short).toEqual({ level: "action", values: Float32Array.of(-1.5) });
  });
});

describe("scaling by the rows that count", () => {
  test.each([
    [[1, 0, 0, 1], 2],
    [[1, null, 0], 2],
    [[0, 0], 1],
    [[], 1],
    [[0.5, -2], 1],
  ])("%j: %d", (values, want) => {
    expect(nonzeroScale(values)).toBe(want);
  });

  test("counts rewards or advantages, over the batch", async () => {
    const rows = [
      [1, 0.5],
      [0, -0.5],
      [0, 0],
      [0, 0],
    ].map(([reward, value]) => ({ ...withAdvantage(value!, 1), reward: reward! }));
    const groups = [0, 2].map((at) => ({
      ...groupOf(`${at}`, []),
      trajectories: rows.slice(at, at + 2),
    }));
    const values = async (count: "reward" | "advantage") =>
      advantages(await scaleByNonzero({ count }).run(groups, context)).map((c) =>
        c?.level === "row" ? c.value : null,
      );
    expect(await values("reward")).toEqual([2, -2, 0, 0]);
    expect(await values("advantage")).toEqual([1, -1, 0, 0]);
    expect(compensate([0.5, -0.5, 0, 0])).toEqual([1, -1, 0, 0]);
  });
});

describe("a KL in the reward", () => {
  const column = (...values: number[]): Column => ({
    level: "action",
    values: Float32Array.from(values),
  });
  const logProbs: Record<string, Column[]> = {
    policy: [column(-1, -5, -2), column(-0.5)],
    reference: [column(-1.5, 0, -1.75), column(-1)],
  };
  function setting() {
    const measures: [string, Measure][] = [];
    const ctx = {
      engine,
      rewards: { correct: () => [1, null] },
      signal: new AbortController().signal,
      measure: (...part: [string, Measure]) => measures.push(part),
      score: async (_: unknown, how: { model?: string } = {}) => logProbs[how.model ?? "policy"],
    } as unknown as StepContext;
    const first = { ...rolloutOf(0, { length: 3 }), mask: Uint8Array.of(1, 0, 1) };
    return { ctx, rows: [first, rolloutOf(0, { length: 1 })], measures };
  }

  test("is estimated per action, not where the mask is 0", async () => {
    const scored = {
      logProb: Float32Array.of(-1, -5),
      refLogProb: Float32Array.of(-2, 0),
      mask: Uint8Array.of(1, 0),
    };
    const k3 = Math.exp(-1) - 1 + 1;
    expect((await rowKl(engine, [scored])).sums).toEqual([1]);
    expect((await rowKl(engine, [scored], "k3")).sums[0]).toBeCloseTo(k3, 6);
    expect((await rowKl(engine, [scored])).kl).toEqual([Float32Array.of(1, 0)]);
  });

  test("by sequence is a reward of its own", async () => {
    const { ctx, rows, measures } = setting();
    const [first, second] = await klPenalty(reward(), { beta: 0.5 }).run(rows, ctx);
    // k1 = .5 and -.25 over the two trained actions.
    expect(first).toMatchObject({ rewards: { correct: 1, kl: -0.125 }, reward: 0.875 });
    expect(second).toMatchObject({ rewards: { correct: null, kl: -0.25 }, reward: null });
    expect(measures).toEqual([["kl", { kind: "mean", sum: 0.75, count: 3 }]]);
  });

  test("by token leaves the reward and charges each action", async () => {
    const { ctx, rows } = setting();
    const [first] = await klPenalty(reward(), { beta: 0.5, level: "token" }).run(rows, ctx);
    expect(first).toMatchObject({ rewards: { correct: 1 }, reward: 1 });
    const charged = first!.columns.tokenReward as { values: Float32Array };
    expect([...charged.values].map((value) => value + 0)).toEqual([-0.25, 0, 0.125]);
  });

  test("refuses a task's reward of its name", () => {
    const facts = { numGenerations: 2, maxCompletionLength: 9, binaryRewards: true };
    expect(() => klPenalty(reward()).inspect!({ ...facts, rewards: ["kl"] })).toThrow(
      /no reward named "kl"/,
    );
  });
});
