import { existsSync, readlinkSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { RewardContext } from "../../src/contract/index.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

/** A run whose evaluation at step i has values[i] right answers of eight, whatever the policy does. */
function runWith(values: readonly number[], more: TrainOptions): TrainOptions {
  let step = -1;
  const correct = shortTask.rewards.correct!;
  const task = {
    ...shortTask,
    rewards: {
      correct: (ctx: RewardContext) => {
        if (ctx.completions.length !== 8) return correct(ctx);
        ++step;
        return ctx.completions.map((_, i) => (i < values[step]! ? 1 : 0));
      },
    },
  };
  const fast: TrainOptions = { ...small, task, warmStart: false, evalSteps: 1, steps: 6 };
  return { ...fast, ...more };
}

describe("early stop", () => {
  test("by patience: after so many evaluations without a gain, resumed or not", async () => {
    const out = join(await temporaryFolder(), "run");
    const values = [1, 3, 3, 2, 5];
    const result = await train(runWith(values, { earlyStopPatience: 2, out }));
    expect(result).toMatchObject({
      steps: 3,
      stopped: true,
      stoppedBy: "patience",
      best: { step: 1, value: 3 / 8 },
    });
    expect(await readdir(out)).toContain("checkpoint-3");
    // It is over: going on changes nothing.
    const again = await train({ resume: out, task: shortTask });
    expect(again).toMatchObject({ steps: 3, stoppedBy: "patience" });

    const parts = join(await temporaryFolder(), "parts");
    await train(runWith(values, { earlyStopPatience: 2, steps: 2, out: parts }));
    const { task } = runWith(values.slice(3), {});
    const resumed = await train({ resume: parts, task, steps: 6 });
    expect(resumed).toMatchObject({ steps: 3, stoppedBy: "patience", best: { step: 1 } });
    expect(await metricsOf(parts)).toEqual(await metricsOf(out));
  });

  test("small gains count once they add up to the minimum", async () => {
    const stop = { earlyStopPatience: 2, earlyStopMinDelta: 0.2 };
    // 1/8 a step: the second gain makes .25 over the start.
    expect(await train(runWith([1, 2, 3, 4, 5, 6, 7], stop))).toMatchObject({ stoppedBy: null });
    expect(await train(runWith([1, 2, 2, 2, 2, 2, 2], stop))).toMatchObject({
      steps: 2,
      stoppedBy: "patience",
      best: { step: 1 },
    });
  });

  test("by target, also downwards", async () => {
    const upwards = await train(runWith([1, 2, 6, 8], { earlyStopTarget: 0.75 }));
    expect(upwards).toMatchObject({
      steps: 2,
      stoppedBy: "target",
      best: { step: 2, value: 0.75 },
    });
    const down = { earlyStopTarget: 0.125, greaterIsBetter: false };
    expect(await train(runWith([4, 2, 1, 0], down))).toMatchObject({
      steps: 2,
      stoppedBy: "target",
    });
    const begun = await train(runWith([8], { earlyStopTarget: 1 }));
    expect(begun).toMatchObject({ steps: 0, stoppedBy: "target" });
  });

  test.each<[TrainOptions, RegExp]>([
    [{ earlyStopMinDelta: 0.1 }, /nothing \(there is no earlyStopPatience\)/],
    [{ bestMetric: "eval/pass@2" }, /nothing \(there is neither keepBest nor an early stop\)/],
    [
      { bestMetric: "eval/acuracy", keepBest: true },
      /train\.bestMetric but received "eval\/acuracy" \(did you mean "eval\/accuracy"\?\)/,
    ],
    [
      { keepBest: true, task: { ...shortTask, evaluation: [] } },
      /held-out prompts for "eval\/accuracy" in task "arithmetic"/,
    ],
  ])("refuses %j", async (options, message) => {
    await expect(train({ ...small, ...options })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
  });
});

describe("checkpoints that stay", () => {
  const checkpoints = async (out: string) =>
    (await readdir(out)).filter((name) => name.startsWith("checkpoint-")).sort();

  test("the last ones, and the best with a link to it", async () => {
    const out = join(await temporaryFolder(), "run");
    const values = [1, 2, 5, 3, 4, 4, 4];
    await train(runWith(values, { keepBest: true, keepCheckpoints: 2, saveSteps: 6, out }));
    // Saved at 0, at the better evaluations of 1 and 2, and at the end.
    expect(await checkpoints(out)).toEqual(["checkpoint-2", "checkpoint-6"]);
    expect(readlinkSync(join(out, "best"))).toBe("checkpoint-2");
    expect(existsSync(join(out, "best", "policy", "model.safetensors"))).toBe(true);
    const { start } = await train({
      ...small,
      ...{ policy: join(out, "best", "policy"), steps: 0 },
    });
    expect(start["eval/accuracy"]).not.toBeNull();

    const last = join(await temporaryFolder(), "last");
    await train(runWith(values, { keepCheckpoints: 3, out: last }));
    expect(await checkpoints(last)).toEqual(["checkpoint-4", "checkpoint-5", "checkpoint-6"]);
    expect(existsSync(join(last, "best"))).toBe(false);
  });

  test("an older one goes on in a folder of its own, to the same end", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, keepCheckpoints: 3, out });
    const from = join(out, "checkpoint-2");
    await expect(train({ resume: from, task: shortTask })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /a new folder for out: .*checkpoint-2 is not the newest checkpoint of its run/,
      ),
    });
    const branch = join(await temporaryFolder(), "branch");
    const result = await train({ resume: from, task: shortTask, out: branch });
    expect(result).toMatchObject({ steps: 4, out: branch });
    expect(weightsOf(branch, 4)).toEqual(weightsOf(out, 4));
    expect(await metricsOf(branch)).toEqual(await metricsOf(out));
    expect(await checkpoints(out)).toEqual(["checkpoint-2", "checkpoint-3", "checkpoint-4"]);
    await expect(train({ resume: from, task: shortTask, out: branch })).rejects.toThrow(
      /holds one already/,
    );
    // The newest one goes on in place, however it is named.
    const named = await train({ resume: join(out, "checkpoint-4"), task: shortTask, steps: 5 });
    expect(named).toMatchObject({ steps: 5, out });
  });
});

describe("a resumed run with other settings", () => {
  test("goes on where it is forced to, and says so", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, steps: 1, out });
    const options = { resume: out, task: shortTask, steps: 2, temperature: 2 };
    await expect(train(options)).rejects.toThrow(/temperature was 1 and is 2 \(force goes on/);
    const warnings: string[] = [];
    await train({ ...options, force: true, onWarning: (warning) => warnings.push(warning) });
    expect(warnings).toEqual(["forced: temperature was 1 and is 2"]);
    const text = await readFile(join(out, "system.txt"), "utf8");
    expect(text).toMatch(/^ {6}temperature +2 /m);
    expect(text).toMatch(/^forced after step 1: temperature was 1 and is 2$/m);
    const state = await readFile(join(out, "checkpoint-2", "state.json"), "utf8");
    expect(JSON.parse(state).body.progress.forced).toEqual([
      { step: 1, differences: ["temperature was 1 and is 2"] },
    ]);
    // The new settings are the run's from now on.
    await train({ resume: out, task: shortTask, temperature: 2, steps: 3 });
    await expect(train({ ...small, force: true })).rejects.toMatchObject({ code: "ERR_OPTION" });
  });

  test("with another system: what its checkpoint lacks begins anew", async () => {
    const system = defineSystem({
      ...{ id: "with-kl", title: "With a KL term", arxiv: null, evidence: "low" },
      advantage: groupNormalize(),
      loss: [surrogate({ beta: 0.1 })],
    });
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, steps: 1, out });
    const warnings: string[] = [];
    const { metrics } = await train({
      ...{ resume: out, task: shortTask, system, steps: 2, force: true },
      onWarning: (warning) => warnings.push(warning),
    });
    expect(warnings).toEqual([
      'forced: system was "grpo" and is "with-kl"',
      expect.stringContaining('model "reference" begins anew'),
    ]);
    expect(metrics.kl).toBeGreaterThanOrEqual(0);
  });

  test("more steps are another course of a learning rate that ends with them", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, lrSchedulerType: "linear", steps: 1, out });
    await expect(train({ resume: out, task: shortTask, steps: 2 })).rejects.toThrow(
      /steps was 1 and is 2 \(the learning rate's course ends with them\)/,
    );
    const { steps } = await train({
      ...{ resume: out, task: shortTask, steps: 2, force: true },
      onWarning: () => {},
    });
    expect(steps).toBe(2);
  });
});
