import { afterAll, describe, expect, test } from "vitest";
import {
  clampAdvantage,
  clampColumn,
  extremeIndices,
  flowKl,
  flowRollout,
  flowStds,
  groupNormalize,
  keepExtremes,
  sampleSteps,
  stepMask,
} from "../../src/blocks/index.js";
import type { LossBatch, StepContext, Trajectory } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { random } from "../../src/nn/random.js";
import { flowDiffusion, flowStd } from "../../src/reference/flowStep.js";
import { groupOf, rolloutOf } from "./trajectories.js";

const engine = new Engine();
afterAll(() => engine.dispose());
const uniform = random([1, 2]).uniform;
const ctx = { engine, uniform } as unknown as StepContext;

describe("sampleSteps", () => {
  const all = new Uint8Array(10).fill(1);
  test.each([
    ["all of them", {}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]],
    ["all but the last", { dropLast: 1 }, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]],
    ["the first half", { fraction: 0.5 }, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]],
    ["60 % of nine, rounded down", { fraction: 0.6, dropLast: 1 }, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]],
    ["at least one", { fraction: 0.01 }, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
  ])("trains %s", (_, options, expected) => {
    expect([...stepMask(all, options, uniform)]).toEqual(expected);
  });

  test("chooses at random among the steps that were trained before, each as often", () => {
    const mask = Uint8Array.of(1, 0, 1, 1, 1, 1, 0, 1);
    const times = new Array<number>(8).fill(0);
    for (let i = 0; i < 3000; ++i) {
      const chosen = stepMask(mask, { fraction: 0.6, choose: "random", dropLast: 1 }, uniform);
      expect(chosen.reduce((a, b) => a + b, 0)).toBe(3);
      for (const [step, trained] of chosen.entries()) times[step]! += trained / 3000;
    }
    // 3 of 5 steps; a standard error of .009.
    for (const step of [0, 2, 3, 4, 5]) expect(Math.abs(times[step]! - 0.6)).toBeLessThan(0.04);
    for (const step of [1, 6, 7]) expect(times[step]).toBe(0);
  });

  test("masks the rows of a phase", async () => {
    const groups = await sampleSteps({ fraction: 0.5 }).run([groupOf("a", [1, 0])], ctx);
    expect(groups[0]!.trajectories.map(({ mask }) => [...mask])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    expect(() => sampleSteps({ fraction: 0 })).toThrow(/sampleSteps\.fraction/);
  });
});

describe("keepExtremes", () => {
  test.each<[string, (number | null)[], number[]]>([
    ["the best two and the worst one", [1, 5, 2, 4, 3], [0, 1, 3]],
    ["earlier rows among equals", [1, 1, 1, 1, 1], [0, 1, 4]],
    ["no row without a reward", [null, 2, null, 1, 3, 4, 5], [3, 5, 6]],
    ["all where there are no more", [2, 1, null], [0, 1]],
    ["none of none", [], []],
  ])("keeps %s", (_, rewards, rows) => {
    expect(extremeIndices(rewards, { best: 2, worst: 1 })).toEqual(rows);
  });

  test("leaves those rows to the loss", async () => {
    const groups = await keepExtremes({ best: 1, worst: 1 }).run([groupOf("a", [3, 1, 2])], ctx);
    expect(groups[0]!.trajectories.map(({ reward }) => reward)).toEqual([3, 1]);
    expect(() => keepExtremes({ best: 0, worst: 0 })).toThrow(/a number above 0 \(best is 0\)/);
  });
});

describe("clampAdvantage", () => {
  test("holds advantages of every level within the limit", async () => {
    expect(clampColumn({ level: "row", value: -7 }, 5)).toEqual({ level: "row", value: -5 });
    const values = Float32Array.of(-6, -5, 0.5, 9);
    expect(clampColumn({ level: "action", values }, 5)).toEqual({
      level: "action",
      values: Float32Array.of(-5, -5, 0.5, 5),
    });
    // One success among 64: z = sqrt(63) = 7.94 by the population std.
    const rewards = Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 0));
    const normalized = await groupNormalize({ conventions: "flow_grpo", eps: 0 }).run(
      [groupOf("a", rewards)],
      ctx,
    );
    const advantageOf = ({ columns: { advantage } }: Trajectory) =>
      advantage?.level === "row" ? advantage.value : Number.NaN;
    expect(advantageOf(normalized[0]!.trajectories[0]!)).toBeCloseTo(Math.sqrt(63), 4);
    const clamped = await clampAdvantage().run(normalized, ctx);
    expect(clamped[0]!.trajectories.slice(0, 2).map(advantageOf)).toEqual([
      5,
      advantageOf(normalized[0]!.trajectories[1]!),
    ]);
    expect(() => clampAdvantage().run([groupOf("a", [1])], ctx)).toThrow(/column "advantage"/);
  });
});

describe("flowRollout", () => {
  test("asks the sampler for noise, and refuses what a schedule cannot have", async () => {
    const plans: object[] = [];
    const sampling = {
      settings: { numGenerations: 2 },
      sample: async (plan: object) => {
        plans.push(plan);
        return [rolloutOf(1), rolloutOf(0)];
      },
    } as unknown as StepContext;
    const prompts = [groupOf("a", []).prompt];
    const block = flowRollout({ noise: "cps", noiseLevel: 0.8, sharedNoise: true });
    expect(await block.run(prompts, sampling)).toHaveLength(1);
    await flowRollout({ shift: 3 }).run(prompts, sampling);
    expect(plans).toEqual([
      { prompts, counts: 2, flow: { noise: "cps", noiseLevel: 0.8 }, sharedNoise: true },
      { prompts, counts: 2, flow: { noise: "sde", noiseLevel: 0.7, shift: 3 }, sharedNoise: false },
    ]);
    expect(() => flowRollout({ noise: "cps", noiseLevel: 1.1 })).toThrow(/at most 1/);
    expect(() => flowRollout({ shift: 0 })).toThrow(/flowRollout\.shift/);
  });
});

describe("flowKl", () => {
  const sigmas = Float32Array.of(1, 0.75, 0.5, 0);
  const row = (noiseLevels: readonly number[]): Trajectory => ({
    ...rolloutOf(1, { length: 3 }),
    actions: {
      ...{ kind: "flow", length: 3, width: 2, noise: "sde", sigmas },
      ...{ states: new Float32Array(8), noiseLevels: Float32Array.from(noiseLevels) },
    },
  });
  const rows = [row([0.7, 0.7, 0.5]), row([0.7, 0, 0.7])];
  const levels = [0.7, 0.7, 0.5, 0.7, 0, 0.7];
  const setting = (level: number) => ({ kind: "sde", noiseLevel: level, sigmaMax: 0.75 }) as const;

  test.each(["diffusion", "step"] as const)("divides by the %s of every step", (std) => {
    const found = flowStds(rows, std);
    for (const [t, level] of levels.entries()) {
      const [from, to] = [sigmas[t % 3]!, sigmas[(t % 3) + 1]!];
      const diffusion = flowDiffusion(from, setting(level));
      const expected = std === "step" ? flowStd(from, to, setting(level)) : diffusion;
      expect(found[t]).toBeCloseTo(level === 0 ? 1 : expected, 6);
    }
  });

  test("is the mean over trained steps of the squared distance of means, with its gradient", () => {
    const { normal } = random([4, 4]);
    const mean = Float32Array.from({ length: 12 }, normal);
    const reference = Float32Array.from({ length: 12 }, normal);
    const mask = Uint8Array.of(1, 1, 0, 1, 0, 1);
    // Masked steps have means 0 from a policy; whatever stands there must not count.
    const batch: LossBatch = {
      engine,
      rows,
      groupOffsets: Int32Array.of(0, 1, 2),
      rowOffsets: Int32Array.of(0, 3, 6),
      mask,
      logProb: engine.zeros([6]),
      entropy: null,
      mean: engine.tensor(mean, [6, 2]),
      oldLogProb: new Float32Array(6),
      ...{ value: null, logits: null, modelLogProb: {}, modelLogits: {} },
      ...{ temperature: 1, maxCompletionLength: 3 },
      modelMean: { reference },
      scale: { trainedTokens: 8, rows: 4, activeRows: 4, groups: 4, activeGroups: 4 },
      step: 1,
    };
    const result = flowKl({ beta: 0.1 }).evaluate(batch);
    let sum = 0;
    const gradient = new Array<number>(12).fill(0);
    for (const [t, level] of levels.entries()) {
      if (mask[t] === 0) continue;
      const variance = flowDiffusion(sigmas[t % 3]!, setting(level)) ** 2;
      for (const i of [2 * t, 2 * t + 1]) {
        const difference = mean[i]! - reference[i]!;
        sum += difference ** 2 / (2 * variance) / 2;
        gradient[i] = ((0.1 / 8) * difference) / variance / 2;
      }
    }
    const floats = (tensor: unknown) => [...(tensor as Tensor).readSync()];
    expect(floats(result.loss)[0]).toBeCloseTo((0.1 * sum) / 8, 6);
    for (const [i, value] of floats(result.dMean).entries()) {
      expect(value).toBeCloseTo(gradient[i]!, 6);
    }
    expect(result.dLogProb).toBeNull();
    const { kl } = result.decode((result.metrics as Tensor).readSync() as Float64Array);
    expect(kl).toMatchObject({ kind: "mean", count: 4 });
    expect((kl as { sum: number }).sum).toBeCloseTo(sum, 4);
  });

  test("is refused for other actions and unknown options", () => {
    expect(() => flowStds([rolloutOf(1)], "step")).toThrow(/flow steps for rows\[0\]\.actions/);
    expect(() => flowKl({ beta: -1 })).toThrow(/flowKl\.beta/);
    expect(() => flowKl({ std: "sigma" } as never)).toThrow(/"diffusion", "step"/);
  });
});
