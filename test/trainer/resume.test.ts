import { existsSync } from "node:fs";
import { appendFile, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { RewardContext } from "../../src/contract/index.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import { train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

/** A run that ends like a killed process: nothing after the given step's report is done. */
async function killedAt(step: number, out: string): Promise<void> {
  const run = train({
    ...small,
    out,
    onStep(report) {
      if (report.step === step) throw new Error("killed");
    },
  });
  await expect(run).rejects.toThrow("killed");
}

describe("a run that goes on ends as if it had never stopped", () => {
  test("in bf16, with the masters of its checkpoint", async () => {
    const narrow = { ...small, dtype: "bf16" as const };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...narrow, out: whole });
    const expected = weightsOf(whole, 4);
    const { tensors } = await readSafetensors(join(whole, "checkpoint-4/policy/model.safetensors"));
    expect(new Set([...tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(["bf16"]));
    const killed = join(await temporaryFolder(), "killed");
    const run = train({
      ...narrow,
      out: killed,
      onStep(report) {
        if (report.step === 3) throw new Error("killed");
      },
    });
    await expect(run).rejects.toThrow("killed");
    await expect(train({ resume: killed, task: small.task, dtype: "f32" })).rejects.toThrow(
      'Expected "bf16", with which the run began, for dtype but received "f32"',
    );
    await train({ resume: killed, task: small.task });
    expect(weightsOf(killed, 4)).toEqual(expected);
    expect(await metricsOf(killed)).toEqual(await metricsOf(whole));
  });

  test("after a kill within a step, after a signal, within the warm start", async () => {
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...small, out: whole });
    const expected = weightsOf(whole, 4);
    const metrics = await metricsOf(whole);

    const killed = join(await temporaryFolder(), "killed");
    await killedAt(3, killed);
    await appendFile(join(killed, "metrics.jsonl"), '{"step":3,"rew');
    const result = await train({ resume: killed, task: small.task });
    expect(result).toMatchObject({ steps: 4, stopped: false, out: killed });
    expect(weightsOf(killed, 4)).toEqual(expected);
    expect(await metricsOf(killed)).toEqual(metrics);

    const stopped = join(await temporaryFolder(), "stopped");
    const stop = new AbortController();
    const first = await train({
      ...small,
      out: stopped,
      signal: stop.signal,
      onStep: ({ step }) => step === 2 && stop.abort(),
    });
    expect(first).toMatchObject({ steps: 2, stopped: true });
    expect(await readdir(stopped)).toContain("checkpoint-2");
    await train({ resume: stopped, task: small.task });
    expect(weightsOf(stopped, 4)).toEqual(expected);
    expect(await metricsOf(stopped)).toEqual(metrics);

    const early = join(await temporaryFolder(), "early");
    const aborted = new AbortController();
    aborted.abort();
    expect(await train({ ...small, out: early, signal: aborted.signal })).toMatchObject({
      steps: 0,
      stopped: true,
    });
    expect(await readdir(early)).toContain("warm-start-1");
    await train({ resume: early, task: small.task });
    expect(weightsOf(early, 4)).toEqual(expected);
    expect(await metricsOf(early)).toEqual(metrics);
  });

  test("after a signal that a reward heeded within a step", async () => {
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...small, out: whole });
    const out = join(await temporaryFolder(), "aborted");
    const stop = new AbortController();
    let step = 0;
    const { correct } = shortTask.rewards;
    const task = {
      ...shortTask,
      rewards: {
        correct: async (ctx: RewardContext) => {
          if (step === 2) stop.abort();
          ctx.signal.throwIfAborted();
          return correct!(ctx);
        },
      },
    };
    const stopped = await train({
      ...small,
      task,
      out,
      signal: stop.signal,
      onStep: (report) => {
        step = report.step;
      },
    });
    expect(stopped).toMatchObject({ steps: 2, stopped: true });
    await train({ resume: out, task: shortTask });
    expect(weightsOf(out, 4)).toEqual(weightsOf(whole, 4));
    expect(await metricsOf(out)).toEqual(await metricsOf(whole));
  });

  test("after an abort within the warm start, a rollout or an update", async () => {
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...small, out: whole });
    for (const event of ["warmStart", "sample", "update"]) {
      const out = join(await temporaryFolder(), event);
      const stop = new AbortController();
      let step = 0;
      const correct = shortTask.rewards.correct!;
      const task = {
        ...shortTask,
        rewards: {
          correct(ctx: RewardContext) {
            // Between the rollouts of a step and its first update.
            if (step === 2 && event === "update") stop.abort();
            return correct(ctx);
          },
        },
      };
      const result = await train({
        ...{ ...small, task, out, abort: stop.signal },
        onWarmStart: () => event === "warmStart" && stop.abort(),
        onStep(report) {
          step = report.step;
          // Not before the checkpoint of this step is begun.
          if (step === 2 && event === "sample") setImmediate(() => stop.abort());
        },
      });
      expect(result).toMatchObject({ stopped: true, stoppedBy: "signal" });
      expect(result.steps).toBeLessThan(4);
      await train({ resume: out, task: shortTask });
      expect(weightsOf(out, 4)).toEqual(weightsOf(whole, 4));
      expect(await metricsOf(out)).toEqual(await metricsOf(whole));
    }
  });

  test("also with a reference model, which stays that of the first step", async () => {
    const { defineSystem } = await import("../../src/systems/defineSystem.js");
    const { groupNormalize, surrogate } = await import("../../src/blocks/index.js");
    const system = defineSystem({
      id: "grpo-kl",
      title: "GRPO with a KL term",
      arxiv: null,
      evidence: "low",
      advantage: groupNormalize(),
      loss: [surrogate({ beta: 0.1 })],
    });
    const options = { ...small, system, learningRate: 1e-2 };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...options, out: whole });
    const parts = join(await temporaryFolder(), "parts");
    await train({ ...options, steps: 2, evalSteps: null, out: parts }).then(() => {});
    await expect(train({ resume: parts, system, task: small.task, evalSteps: 2 })).rejects.toThrow(
      /evalSteps was null and is 2/,
    );
    await train({ resume: parts, system, task: small.task, steps: 4 });
    expect(weightsOf(parts, 4)).toEqual(weightsOf(whole, 4));
    const kl = (await metricsOf(whole)).slice(1).map((metrics) => metrics.kl);
    expect(kl.every((value) => typeof value === "number" && value >= 0)).toBe(true);
    expect(kl.at(-1)).toBeGreaterThan(0);
  });
});

describe("a run that cannot go on says why", () => {
  test("other settings are named, all of them", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, steps: 1, out });
    const before = weightsOf(out, 1);
    const task = small.task;
    await expect(
      train({ resume: out, task, temperature: 2, numGenerations: 8 }),
    ).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(/numGenerations was 4 and is 8; temperature was 1 and is 2/),
    });
    await expect(
      train({ resume: out, task, system: "mc-grpo", onWarning: () => {} }),
    ).rejects.toThrow(/system was "grpo" and is "mc-grpo"/);
    await expect(train({ resume: out, task, policy: "other" })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /Expected "tiny", with which the run began, for policy but received "other"/,
      ),
    });
    await expect(train({ resume: out, task, steps: 0 })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /at least the 1 steps that are done for train\.steps but received 0/,
      ),
    });
    expect(weightsOf(out, 1)).toEqual(before);
  });

  test("a folder without a run", async () => {
    const folder = await temporaryFolder();
    await expect(train({ resume: folder })).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
    await expect(train({ resume: join(folder, "nowhere") })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(/ENOENT/),
    });
  });

  test("a folder whose run was killed before its first checkpoint takes a new one", async () => {
    const out = join(await temporaryFolder(), "run");
    const killed = train({
      ...small,
      out,
      warmStart: false,
      onWarning: () => {},
      sampler: {
        name: "dead",
        capabilities: new Set(),
        refresh: () => Promise.reject(new Error("killed")),
        sample: () => Promise.reject(new Error("killed")),
      },
    });
    await expect(killed).rejects.toThrow("killed");
    expect(await readdir(out)).toEqual([
      ...[".lock", "metrics.jsonl", "rollouts.jsonl", "run.json", "system.txt"],
    ]);
    await train({ ...small, out, warmStart: false, steps: 0 });
    expect(await readdir(out)).toContain("checkpoint-0");
  });

  test("nothing is trained where nothing can be written, or another run lies", async () => {
    const folder = await temporaryFolder();
    const used = join(folder, "used");
    await train({ ...small, steps: 0, out: used });
    let steps = 0;
    const onWarmStart = () => {
      ++steps;
    };
    await expect(train({ ...small, out: used, onWarmStart })).rejects.toThrow(/holds one already/);
    const file = join(used, "metrics.jsonl");
    await expect(train({ ...small, out: join(file, "run"), onWarmStart })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(/Expected a writable folder for the run but .*ENOTDIR/),
    });
    expect(steps).toBe(0);
    expect(existsSync(join(file, "run"))).toBe(false);
  });
});

test("the run's folder says what ran", async () => {
  const out = join(await temporaryFolder(), "run");
  await train({ ...small, steps: 1, out });
  const text = await readFile(join(out, "system.txt"), "utf8");
  expect(text).toMatch(/^grpo: Group Relative Policy Optimization/);
  expect(text).toMatch(/^ {6}aggregation +"seq-mean-token-mean"/m);
  expect(text).toMatch(/^ {6}numGenerations +4 /m);
  expect(text).toMatch(/^ {6}seed +7 /m);
});
