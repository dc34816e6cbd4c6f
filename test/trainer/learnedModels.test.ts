import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Metrics } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { tasks } from "../../src/tasks/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { keptFolder, temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

/** One warm start and one teacher for all recipes. */
let start: string;
let teacher: string;
let removeFolder: () => Promise<void>;
beforeAll(async () => {
  const kept = await keptFolder();
  removeFolder = kept.remove;
  const [warm, taught] = [join(kept.folder, "warm"), join(kept.folder, "taught")];
  const quick = {
    device: "cpu",
    seed: 3,
    evalSteps: null,
    evalSamples: 1,
    saveSteps: 100,
  } as const;
  await train({ ...quick, steps: 0, out: warm });
  start = join(warm, "checkpoint-0", "policy");
  await train({ ...quick, policy: start, steps: 15, out: taught });
  teacher = join(taught, "checkpoint-15", "policy");
}, 60_000);
afterAll(() => removeFolder());

async function lesson(options: TrainOptions): Promise<{ start: Metrics; steps: Metrics[] }> {
  const steps: Metrics[] = [];
  const { start } = await train({
    ...{ device: "cpu", seed: 5, evalSteps: null, evalSamples: 8, onWarning: () => {} },
    onStep: ({ metrics }) => steps.push(metrics),
    ...options,
  });
  return { start, steps };
}

describe("the accuracy on arithmetic rises within a few steps", () => {
  test.each<[string, number, readonly string[]]>([
    ["ppo", 0.3, ["value_loss", "value_clip_ratio", "explained_variance"]],
    ["dpo", 0.25, ["chosen", "rejected", "margins", "accuracies"].map((n) => `rewards/${n}`)],
    ["ipo", 0.25, ["chosen", "rejected", "margins", "accuracies"].map((n) => `rewards/${n}`)],
    ["opd", 0.3, ["teacher/kl"]],
    ["opd-topk", 0.3, ["teacher/divergence"]],
    ["sft", 0.15, []],
  ])(
    "%s",
    async (system, rise, reported) => {
      const models = system.startsWith("opd") ? { models: { teacher } } : {};
      const { start: before, steps } = await lesson({
        system,
        policy: start,
        ...models,
        steps: 10,
      });
      const [accuracy, begun] = [steps.at(-1)!["eval/accuracy"]!, before["eval/accuracy"]!];
      expect(accuracy - begun).toBeGreaterThan(rise);
      for (const name of reported) {
        expect(Number.isFinite(steps[1]![name]), name).toBe(true);
      }
      if (system.startsWith("opd")) {
        const distance = (metrics: Metrics) => metrics[reported[0]!]!;
        expect(distance(steps.at(-1)!)).toBeLessThan(0.5 * distance(steps[1]!));
      }
    },
    30_000,
  );

  test("sft, from a policy that knows nothing", async () => {
    const settings = { warmStart: false, learningRate: 3e-3, steps: 200, evalSamples: 4 };
    const { start: before, steps } = await lesson({ system: "sft", ...settings });
    expect(before["eval/accuracy"]).toBeLessThan(0.1);
    expect(steps.at(-1)!["eval/accuracy"]).toBeGreaterThan(0.7);
    expect(steps.at(-1)!.loss).toBeLessThan(0.1 * steps[1]!.loss!);
  }, 30_000);
});

describe("a run that goes on ends as if it had never stopped", () => {
  async function resumed(options: TrainOptions, before?: () => Promise<void>) {
    const out = join(await temporaryFolder(), "run");
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...small, ...options, out: whole });
    const killed = train({
      ...small,
      ...options,
      out,
      onStep({ step }) {
        if (step === 3) throw new Error("killed");
      },
    });
    await expect(killed).rejects.toThrow("killed");
    await before?.();
    await train({ resume: out, task: small.task });
    expect(weightsOf(out, 4)).toEqual(weightsOf(whole, 4));
    expect(await metricsOf(out)).toEqual(await metricsOf(whole));
    return out;
  }

  test("with a value head", async () => {
    const out = await resumed({ system: "ppo", learningRate: 1e-2, numIterations: 2 });
    const metrics = await metricsOf(out);
    expect(metrics.at(-1)!.value_loss).toBeGreaterThan(0);
  });

  test("with a teacher, whose folder may be gone by then", async () => {
    const engine = new Engine({ device: "cpu" });
    const folder = await temporaryFolder();
    // Another architecture than the student's: only the vocabulary has to be the same.
    const tokenizer = new CharTokenizer(shortTask.alphabet!);
    const shape = { layers: 1, width: 32, heads: 2, kvHeads: 1, hidden: 48 };
    const config = tinyConfig(tokenizer.vocabularySize, shape);
    await TokenPolicy.create(engine, config, { tokenizer, seed: 9 }).save(folder);
    engine.dispose();
    await resumed({ system: "opd-topk", models: { teacher: folder } }, () =>
      rm(folder, { recursive: true }),
    );
  });

  test("but not with another teacher", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, system: "opd", models: { teacher }, steps: 1, out });
    const other = train({ resume: out, task: small.task, models: { teacher: start } });
    await expect(other).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(/with which the run began, for models.teacher but received/),
    });
  });
});

describe("a policy without a value head", () => {
  test("gets a fresh one from its folder, and the run says so", async () => {
    const warnings: string[] = [];
    const out = join(await temporaryFolder(), "run");
    const onWarning = (warning: string) => warnings.push(warning);
    await train({ ...small, system: "ppo", policy: start, steps: 1, out, onWarning });
    expect(warnings).toEqual([`${start} has no value head: the run begins with a fresh one`]);
    // The next run has one, and a recipe that needs none keeps it.
    const next = join(await temporaryFolder(), "next");
    const policy = join(out, "checkpoint-1", "policy");
    await train({ ...small, system: "grpo", policy, steps: 1, out: next, onWarning });
    const engine = new Engine({ device: "cpu" });
    const kept = await TokenPolicy.open(engine, join(next, "checkpoint-1", "policy"));
    expect(kept.valueHead).toBe(true);
    engine.dispose();
    expect(warnings).toHaveLength(1);
  });
});

describe("what cannot work is refused before work starts", () => {
  const foreign = new CharTokenizer("xyz");

  test.each<[string, () => TrainOptions, RegExp]>([
    [
      "distillation without a teacher",
      () => ({ system: "opd" }),
      /as model "teacher" of opd \(models: \{ teacher: ... \}, or --model teacher=DIR\) but received none/,
    ],
    [
      "a model that nobody asks for",
      () => ({ system: "opd", models: { teacher, tacher: start } }),
      /only "teacher" for system opd but received "tacher" \(did you mean "teacher"\?\)/,
    ],
    [
      "a model for a system that asks for none",
      () => ({ system: "grpo", models: { teacher } }),
      /Expected no models for system grpo but received "teacher"/,
    ],
    [
      "a model that is no folder",
      () => ({ system: "opd", models: { teacher: "" } }),
      /a path or an object for models\.teacher but received ""/,
    ],
    [
      "a model that is neither",
      () => ({ system: "opd", models: { teacher: 7 as never } }),
      /a path or an object for models\.teacher but received 7/,
    ],
    [
      "pairs of one rollout",
      () => ({ system: "dpo", numGenerations: 1, minibatchSize: undefined }),
      /at least 2 \(pairs are made of a group\) for numGenerations but received 1/,
    ],
    [
      "demonstrations of a task without answers",
      () => ({
        system: "sft",
        task: {
          ...shortTask,
          demonstrate: undefined,
          train: shortTask.train.map((question) => ({ ...question, label: 3 })),
        },
      }),
      /a task that demonstrates answers, or whose labels are text for demonstrations/,
    ],
  ])("%s", async (_, options, message) => {
    let begun = false;
    const onWarmStart = () => {
      begun = true;
    };
    await expect(train({ ...small, onWarmStart, ...options() })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
    expect(begun).toBe(false);
  });

  test("policies that are objects: of another vocabulary, or without the head that a loss learns", async () => {
    const engine = new Engine({ device: "cpu" });
    const tokenizer = new CharTokenizer(shortTask.alphabet!);
    const policy = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer });
    const other = TokenPolicy.create(engine, tinyConfig(4), { tokenizer: foreign });
    const { device: _, ...options } = small;
    const run = (given: TrainOptions) => train({ ...options, engine, policy, ...given });
    await expect(run({ system: "opd", models: { teacher: other } })).rejects.toThrow(
      /of the same vocabulary as model "teacher" of opd but its tokens are others/,
    );
    await expect(run({ system: "ppo" })).rejects.toThrow(
      /a policy with a value head \(clippedValue of ppo learns it\) but it has none/,
    );
    // A teacher that is an object stays the caller's.
    const taught = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), {
      tokenizer,
      seed: 2,
    });
    await run({ system: "opd", models: { teacher: taught }, steps: 1 });
    expect(taught.score([]).logProb.size).toBe(0);
    engine.dispose();
  });
});

test("labels that are text are answers where the task demonstrates none", async () => {
  const task = { ...tasks.arithmetic!, demonstrate: undefined, warmStart: [] };
  const { steps } = await lesson({
    ...small,
    ...{ system: "sft", task, learningRate: 1e-2, steps: 30, promptsPerStep: 16 },
  });
  expect(steps.at(-1)!["completions/mean_length"]).toBe(2);
  expect(steps.at(-1)!.loss).toBeLessThan(0.7 * steps[1]!.loss!);
});
