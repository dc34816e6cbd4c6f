import { afterAll, describe, expect, test } from "vitest";
import {
  bestWorstPairs,
  clippedValue,
  distillation,
  generalizedAdvantage,
  groupLoss,
  groupNormalize,
  klHinge,
  surrogate,
} from "../../src/blocks/index.js";
import type { LossTerm, Metrics, Task } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { defineSystem, type PhaseDefinition } from "../../src/systems/defineSystem.js";
import { train } from "../../src/train.js";
import { shortTask, small } from "./runs.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

const tokenizer = new CharTokenizer(shortTask.alphabet!);
const shape = { layers: 1, width: 16, heads: 2, kvHeads: 2, hidden: 16 };

/** About half of what a fresh policy writes is right. */
const task: Task = {
  ...shortTask,
  rewards: {
    correct: ({ completions }) =>
      completions.map((text) => (`${text}=`.codePointAt(0)! + text.length) % 2),
  },
};

function policyOf(seed: number, valueHead = false): TokenPolicy {
  const config = { ...tinyConfig(tokenizer.vocabularySize, shape), valueHead };
  return TokenPolicy.create(engine, config, { tokenizer, seed });
}

/** One optimiser step over 16 rollouts: its metrics, and the gradient of every parameter. */
async function step(
  phase: Partial<PhaseDefinition> & { loss: LossTerm[] },
  microBatchSize: number,
) {
  const asksTeacher = phase.loss.some(({ modelLogits }) => modelLogits !== undefined);
  const system = defineSystem({
    ...{ id: "test", title: "For a test", arxiv: null, evidence: "low" },
    advantage: groupNormalize(),
    ...(asksTeacher && { models: { teacher: { from: "given", trained: false } } }),
    ...phase,
  });
  const policy = policyOf(
    1,
    phase.loss.some(({ value }) => value),
  );
  const teacher = policyOf(2);
  let metrics: Metrics = {};
  const { device: _, ...options } = small;
  await train({
    ...options,
    ...{ system, task, engine, policy, microBatchSize },
    ...(asksTeacher && { models: { teacher } }),
    warmStart: false,
    steps: 1,
    minibatchSize: 16,
    maxGradNorm: null,
    evalSteps: null,
    onStep: (report) => {
      metrics = report.metrics;
    },
  });
  const gradient = policy.parameters.map(({ name, grad }) => ({
    name,
    values: grad.readSync() as Float32Array,
  }));
  policy.dispose();
  teacher.dispose();
  return { metrics, gradient };
}

const norm = (x: ArrayLike<number>) => Math.sqrt(Array.from(x).reduce((sum, v) => sum + v * v, 0));

/** What is measured of a clock, or of single rows of a part. */
const timed = /^(step_time|tokens_per_second|time\/)/;

const pairs = { select: bestWorstPairs(), advantage: null };
const gae = { advantage: generalizedAdvantage() };

describe("micro-batches of 1, 3 and all rows make the same optimiser step", () => {
  test.each<[string, Partial<PhaseDefinition> & { loss: LossTerm[] }]>([
    ["tokens", { loss: [surrogate({ beta: 0.1, entropyCoefficient: 0.01 })] }],
    ["rows", { loss: [surrogate({ level: "sequence", aggregation: "seq-mean-token-mean" })] }],
    ["groups by sign", { loss: [surrogate({ aggregation: "balanced" })] }],
    ["groups: real", { loss: [groupLoss({ kind: "real" })] }],
    ["groups: real-bce", { loss: [groupLoss({ kind: "real-bce" })] }],
    [
      "groups: drpo and its trust region",
      {
        loss: [
          groupLoss({ kind: "drpo", maxCompletionLength: 6 }),
          klHinge({ delta: 0, klEstimator: "k3" }),
        ],
      },
    ],
    ["groups: reg-grpo", { loss: [groupLoss({ kind: "reg-grpo", eps: 0.1 })] }],
    ["pairs: dpo", { ...pairs, loss: [groupLoss({ kind: "dpo", labelSmoothing: 0.1 })] }],
    ["pairs: ipo", { ...pairs, loss: [groupLoss({ kind: "ipo" })] }],
    ["values", { ...gae, loss: [surrogate(), clippedValue()] }],
    ["logits", { loss: [distillation({ kind: "reverse" })] }],
    [
      "logits of the teacher's top tokens",
      { loss: [distillation({ topK: 3, nonNegative: true })] },
    ],
    [
      "all of it",
      {
        ...gae,
        credit: groupNormalize(),
        loss: [
          surrogate({ entropyCoefficient: 0.1 }),
          groupLoss({ kind: "real" }),
          clippedValue(),
          distillation(),
          surrogate({ aggregation: "balanced" }),
        ],
      },
    ],
  ])("%s", async (_, phase) => {
    const whole = await step(phase, 16);
    expect(whole.metrics.grad_norm).toBeGreaterThan(0);
    const uncoupled = phase.loss.some(({ coupling }) => coupling === "token" || coupling === "row");
    for (const size of [3, 1]) {
      const parts = await step(phase, size);
      const { loss } = parts.metrics;
      // A coupled term sees the same bits either way; sums of float64 parts differ by their rounding.
      if (uncoupled) expect(Math.abs(loss! - whole.metrics.loss!)).toBeLessThan(1e-12);
      else expect(loss).toBe(whole.metrics.loss);
      for (const [i, { name, values }] of whole.gradient.entries()) {
        const difference = values.map((g, j) => g - parts.gradient[i]!.values[j]!);
        // Float32 sums over rows in another order.
        expect(norm(difference), name).toBeLessThanOrEqual(1e-5 * norm(values) + 1e-9);
      }
      for (const [name, value] of Object.entries(whole.metrics)) {
        if (timed.test(name) || value === null) continue;
        expect(Math.abs(parts.metrics[name]! - value), name).toBeLessThan(
          1e-5 * (1 + Math.abs(value)),
        );
      }
    }
  });
});

test("a step of coupled terms keeps no memory behind", async () => {
  const live: number[] = [];
  const phase = { ...pairs, loss: [groupLoss({ kind: "dpo" })] };
  for (const size of [16, 3, 3]) {
    await step(phase, size);
    await engine.synchronize();
    live.push(engine.memory().live);
  }
  expect(new Set(live).size).toBe(1);
});
