import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import { Engine, mixWeights } from "../../src/index.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

const system = defineSystem({
  ...{ id: "with-kl", title: "With a KL term", arxiv: null, evidence: "low" },
  advantage: groupNormalize(),
  loss: [surrogate({ beta: 0.1 })],
});
// One update a step: its KL is that of the weights before it.
const options: TrainOptions = { ...small, system, minibatchSize: 16, learningRate: 1e-2 };

async function klOf(more: TrainOptions): Promise<number[]> {
  const kl: number[] = [];
  const onStep: TrainOptions["onStep"] = ({ step, metrics }) => step > 0 && kl.push(metrics.kl!);
  await train({ ...options, ...more, onStep });
  return kl;
}

async function weights(out: string, step: number, model: string): Promise<Float32Array[]> {
  const path = join(out, `checkpoint-${step}`, model, "model.safetensors");
  const { tensors } = await readSafetensors(path);
  return [...tensors.values()].map(({ data }) => data as Float32Array);
}

test("weights are mixed in place, to the bit a copy where the share is 1", async () => {
  const engine = new Engine({ device: "cpu" });
  const reference = engine.tensor(Float32Array.of(1, 0, -3));
  const current = engine.tensor(Float32Array.of(0, 1, 5));
  mixWeights(engine, reference, current, 0.25);
  expect([...(await reference.read())]).toEqual([0.75, 0.25, -1]);
  mixWeights(engine, reference, current, 1);
  expect([...(await reference.read())]).toEqual([0, 1, 5]);
  expect(() => mixWeights(engine, reference, current, 1.5)).toThrow(/for alpha but received 1.5/);
  engine.dispose();
});

describe("the reference policy", () => {
  test("stays, is copied every few steps, or follows", async () => {
    const frozen = await klOf({});
    expect(frozen[0]).toBe(0);
    expect(Math.min(...frozen.slice(1))).toBeGreaterThan(0);
    const copied = await klOf({ syncRefModel: true, refModelMixupAlpha: 1, refModelSyncSteps: 2 });
    expect(copied[1]).toBe(frozen[1]);
    expect(copied[2]).toBe(0);
    expect(copied[3]).toBeGreaterThan(0);
    const followed = await klOf({ syncRefModel: true, refModelSyncSteps: 1 });
    expect(followed[1]).toBeGreaterThan(0);
    expect(followed[1]).toBeLessThan(frozen[1]!);
  });

  test("is the moving average of the policy's weights, saved and resumed", async () => {
    const moving = {
      ...options,
      syncRefModel: true,
      refModelMixupAlpha: 0.25,
      refModelSyncSteps: 1,
    };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...moving, keepCheckpoints: 9, out: whole });
    const [before, policy, after] = [
      await weights(whole, 0, "reference"),
      await weights(whole, 1, "policy"),
      await weights(whole, 1, "reference"),
    ];
    for (const [t, values] of after.entries()) {
      for (const [i, value] of values.entries()) {
        // Two roundings of float32.
        expect(value).toBeCloseTo(0.75 * before[t]![i]! + 0.25 * policy[t]![i]!, 6);
      }
    }
    const parts = join(await temporaryFolder(), "parts");
    await train({ ...moving, steps: 2, out: parts });
    await train({ resume: parts, system, task: shortTask, steps: 4 });
    expect(weightsOf(parts, 4)).toEqual(weightsOf(whole, 4));
    expect(await weights(parts, 4, "reference")).toEqual(await weights(whole, 4, "reference"));
    expect((await metricsOf(parts)).map(({ kl }) => kl)).toEqual(
      (await metricsOf(whole)).map(({ kl }) => kl),
    );
  });

  test("is written once where it stays, and each checkpoint is whole by itself", async () => {
    const out = join(await temporaryFolder(), "run");
    const inode = (step: number, model: string) =>
      statSync(join(out, `checkpoint-${step}`, model, "model.safetensors")).ino;
    await train({ ...options, keepCheckpoints: 2, out });
    expect(inode(4, "reference")).toBe(inode(3, "reference"));
    expect(inode(4, "policy")).not.toBe(inode(3, "policy"));
    await train({ resume: out, system, task: shortTask, steps: 6 });
    // The checkpoints that it was first written into are gone.
    expect(await weights(out, 6, "reference")).toHaveLength(
      (await weights(out, 6, "policy")).length,
    );
    expect(inode(6, "reference")).toBe(inode(5, "reference"));
    await train({ resume: out, system, task: shortTask, steps: 7 });
    expect(weightsOf(out, 7)).not.toEqual(weightsOf(out, 6));
  });

  test.each<[TrainOptions, RegExp]>([
    [
      { syncRefModel: true, system: "grpo" },
      /a reference policy that can follow in grpo .* but no loss reads it/,
    ],
    [
      { refModelMixupAlpha: 0.5 },
      /nothing \(syncRefModel is false\) for train\.refModelMixupAlpha/,
    ],
    [{ syncRefModel: true, refModelMixupAlpha: 0 }, /a number > 0 and <= 1/],
  ])("refuses %j", async (more, message) => {
    await expect(train({ ...options, ...more })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
  });
});
