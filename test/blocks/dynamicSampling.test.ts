import { describe, expect, test } from "vitest";
import { dynamicSampling, refill } from "../../src/blocks/index.js";
import type { Group, Measure, Prompt, StepContext, Trajectory } from "../../src/contract/index.js";
import { prompt, rolloutOf } from "./trajectories.js";

describe("a refill", () => {
  const varies = (group: string) => group.startsWith("v");
  const from =
    (...generations: string[][]) =>
    async () =>
      generations.shift()!;

  test("generates nothing where the batch is full", async () => {
    expect(await refill(["v1", "v2"], varies, from(), 10)).toEqual({
      kept: ["v1", "v2"],
      generations: 1,
      generated: 2,
      varied: 2,
    });
  });

  test("goes on until the batch is full, in order, and drops the surplus", async () => {
    const more = from(["c2", "v2", "c3"], ["v3", "v4", "v5"]);
    expect(await refill(["v1", "c0", "c1"], varies, more, 10)).toEqual({
      kept: ["v1", "v2", "v3"],
      generations: 3,
      generated: 9,
      varied: 5,
    });
  });

  test("ends with the generations", async () => {
    const more = from(["c", "v2"], ["c", "c"], ["v", "v"]);
    expect(await refill(["c", "c"], varies, more, 3)).toMatchObject({
      kept: ["v2"],
      generations: 3,
      generated: 6,
    });
    expect(await refill(["c"], varies, from(), 1)).toMatchObject({ kept: [], generations: 1 });
  });
});

/** A step whose prompts are numbered, with rewards by prompt. */
function step(rewards: Record<string, (number | null)[]>, reward = "correct") {
  let drawn = 0;
  let id = 0;
  const measures: Record<string, Measure> = {};
  const rollouts = (prompts: readonly Prompt[], count: number): Trajectory[] =>
    prompts.flatMap((own) =>
      Array.from({ length: count }, () => rolloutOf(null, { id: id++, prompt: own })),
    );
  const rewarded = (rows: readonly Trajectory[]) => {
    const seen: Record<string, number> = {};
    return rows.map((t) => {
      const i = seen[t.prompt.id] ?? 0;
      seen[t.prompt.id] = i + 1;
      const value = rewards[t.prompt.id]![i]!;
      return { ...t, rewards: { [reward]: value, overlong: -i }, reward: value };
    });
  };
  const ctx = {
    rewards: { [reward]: () => [] },
    measure: (name: string, part: Measure) => {
      measures[name] = part;
    },
    prompts: (count: number) => Array.from({ length: count }, () => prompt(`p${drawn++}`)),
    sample: async ({ prompts, counts }: { prompts: Prompt[]; counts: number }) =>
      rollouts(prompts, counts),
    reward: async (rows: readonly Trajectory[]) => rewarded(rows),
  } as unknown as StepContext;
  const first = (count: number, size: number): Group[] =>
    ctx.prompts(count).map((own, g) => ({
      key: `${g}:${own.id}`,
      prompt: own,
      trajectories: rewarded(rollouts([own], size)),
    }));
  return { ctx, measures, first, drawn: () => drawn };
}

describe("dynamic sampling", () => {
  const rewards = { p0: [1, 1], p1: [0, 1], p2: [0, 0], p3: [1, 0], p4: [0, 1], p5: [1, 0] };

  test("puts the next prompts in the place of constant groups", async () => {
    const { ctx, measures, first, drawn } = step(rewards);
    const out = await dynamicSampling().run(first(2, 2), ctx);
    expect(out.map((group) => group.prompt.id)).toEqual(["p1", "p3"]);
    expect(out.map((group) => group.key)).toEqual(["1:p1", "3:p3"]);
    expect(out[1]!.trajectories.map((t) => t.keys.prompt)).toEqual([3, 3]);
    expect(drawn()).toBe(4);
    expect(measures).toEqual({
      "filter/generations": { kind: "mean", sum: 2, count: 1 },
      "filter/kept": { kind: "mean", sum: 2, count: 4 },
    });
  });

  test("a length penalty alone does not make a group vary, a named metric decides alone", async () => {
    const penalised = step({ p0: [1, 1], p1: [0, 0] });
    const one = { maxGenerations: 1 };
    expect(await dynamicSampling(one).run(penalised.first(2, 2), penalised.ctx)).toEqual([]);
    const named = dynamicSampling({ ...one, metric: "overlong" });
    expect(await named.run(penalised.first(0, 2), penalised.ctx)).toEqual([]);
    const again = step({ p0: [1, 1], p1: [0, 0] });
    expect(await named.run(again.first(2, 2), again.ctx)).toHaveLength(2);
  });

  test("groups that were sampled larger are refilled as large", async () => {
    const { ctx, first } = step({ p0: [1, 1, 1], p1: [0, 1, 0] });
    const [group] = await dynamicSampling().run(first(1, 3), ctx);
    expect(group!.trajectories).toHaveLength(3);
  });

  test("a batch that stays short is trained, or refused, as it says", async () => {
    const hard = { p0: [0, 0], p1: [0, 1], p2: [0, 0], p3: [0, 0] };
    const train = step(hard);
    const two = { maxGenerations: 2 };
    expect(await dynamicSampling(two).run(train.first(2, 2), train.ctx)).toHaveLength(1);
    const refuse = step(hard);
    const strict = dynamicSampling({ ...two, exhausted: "refuse" });
    await expect(strict.run(refuse.first(2, 2), refuse.ctx)).rejects.toMatchObject({
      code: "ERR_REWARD",
      message: expect.stringMatching(
        /2 groups whose "correct" varies within 2 generations but found 1 of 4/,
      ),
    });
  });

  test("refuses a metric that the task does not have, and no generation", () => {
    const facts = { numGenerations: 2, maxCompletionLength: 9, binaryRewards: true };
    const inspect = () =>
      dynamicSampling({ metric: "corect" }).inspect!({ ...facts, rewards: ["correct"] });
    expect(inspect).toThrow(
      /dynamicSampling.metric but received "corect" \(did you mean "correct"/,
    );
    expect(() => dynamicSampling({ maxGenerations: 0 })).toThrow(/an integer >= 1/);
  });
});
