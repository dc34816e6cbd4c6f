import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { tasks } from "../../src/tasks/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "../trainer/runs.js";

const recipes = [
  ...["grpo", "dr-grpo", "rloo", "reinforce-pp", "reinforce-pp-baseline", "dapo", "gspo"],
  ...["gspo-token", "cispo", "sapo", "gmpo", "luspo", "dppo-tv", "vespo", "gpg"],
];

test("every base recipe learns arithmetic from the same warm start", async () => {
  const out = join(await temporaryFolder(), "warm");
  const evaluation = tasks.arithmetic!.evaluation.slice(0, 32);
  const task = { ...tasks.arithmetic!, evaluation };
  const short: TrainOptions = {
    ...{ task, device: "cpu", seed: 1, evalSamples: 8, evalSteps: null, onWarning: () => {} },
    ...{ promptsPerStep: 16, minibatchSize: 32 },
  };
  await train({ ...short, steps: 0, out });
  const policy = join(out, "checkpoint-0", "policy");
  for (const system of recipes) {
    const { start, metrics } = await train({ ...short, system, policy, steps: 20 });
    const gain = metrics["eval/accuracy"]! - start["eval/accuracy"]!;
    expect(gain, `${system} from ${start["eval/accuracy"]}`).toBeGreaterThan(0.15);
  }
});

describe("recipes that sample or score on the way go on as if they had never stopped", () => {
  test.each(["dapo", "rloo", "reinforce-pp"])("%s", async (system) => {
    const options = { ...small, system, learningRate: 1e-3, onWarning: () => {} };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...options, out: whole });
    const parts = join(await temporaryFolder(), "parts");
    await train({ ...options, steps: 2, out: parts });
    await train({ resume: parts, task: shortTask, steps: 4, onWarning: () => {} });
    expect(weightsOf(parts, 4)).toEqual(weightsOf(whole, 4));
    expect(await metricsOf(parts)).toEqual(await metricsOf(whole));
  });
});

describe("dapo's batch", () => {
  test("counts every rollout that was sampled, and reports its generations", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, system: "dapo", steps: 2, out });
    const [, ...steps] = await metricsOf(out);
    const generations = steps.map((metrics) => metrics["filter/generations"]!);
    expect(Math.max(...generations)).toBeGreaterThan(1);
    // 4 prompts of 5 tokens, 4 rollouts of at least 1 token each, every generation.
    const least = generations.reduce((sum, n) => sum + n * 16 * 6, 0);
    expect(steps.at(-1)!.num_tokens).toBeGreaterThanOrEqual(least);
    for (const metrics of steps) expect(metrics["filter/kept"]).toBeLessThanOrEqual(1);
  });

  test("without a prompt that varies nothing is learned and nothing breaks", async () => {
    const task = {
      ...shortTask,
      rewards: {
        correct: ({ completions }: { completions: readonly string[] }) => completions.map(() => 1),
      },
    };
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, system: "dapo", task, steps: 0, out });
    const before = weightsOf(out, 0)["policy/model.safetensors"];
    await train({ resume: out, task, steps: 1 });
    expect(weightsOf(out, 1)["policy/model.safetensors"]).toBe(before);
    expect((await metricsOf(out)).at(-1)).toMatchObject({
      ...{ "filter/generations": 10, "filter/kept": 0, loss: null, grad_norm: null },
    });
  });
});

test("a recipe that penalises the KL reports it, 0 at the first step", async () => {
  const out = join(await temporaryFolder(), "run");
  await train({ ...small, system: "rloo", learningRate: 1e-2, steps: 3, out });
  const [, first, , third] = await metricsOf(out);
  expect(first!.kl).toBe(0);
  expect(third!.kl).not.toBe(0);
  expect(first!["rewards/kl/mean"]).toBe(0);
});
