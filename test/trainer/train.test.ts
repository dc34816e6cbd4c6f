import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  extraRollouts,
  groupNormalize,
  intoGroups,
  type SurrogateOptions,
  surrogate,
} from "../../src/blocks/index.js";
import type {
  Group,
  RewardFunction,
  Sampler,
  StepReport,
  System,
  Trajectory,
} from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { EmbeddedSampler } from "../../src/samplers/embedded.js";
import { defineSystem, type PhaseDefinition } from "../../src/systems/defineSystem.js";
import { type TrainOptions, train } from "../../src/train.js";
import { stepMetrics } from "../../src/trainer/metrics.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

function systemWith(phase: Partial<PhaseDefinition>, id = "test"): System {
  const head = { id, title: "For a test", arxiv: null, evidence: "low" } as const;
  return defineSystem({ ...head, advantage: groupNormalize(), loss: [surrogate()], ...phase });
}

const tokenizer = new CharTokenizer(shortTask.alphabet!);

function taskWith(correct: RewardFunction) {
  return { ...shortTask, rewards: { correct } };
}

describe("training", () => {
  test("raises the reward of what is rewarded", async () => {
    // A reward that a fresh policy meets about once in fourteen, learned within a few steps.
    const task = taskWith(({ completions }) =>
      completions.map((text) => (text.startsWith("0") ? 1 : 0)),
    );
    const rewards: number[] = [];
    await train({
      ...small,
      task,
      warmStart: false,
      steps: 12,
      promptsPerStep: 8,
      numGenerations: 16,
      minibatchSize: 128,
      learningRate: 5e-3,
      onStep: ({ step, metrics }) => step > 0 && rewards.push(metrics.reward!),
    });
    expect(rewards[0]).toBeLessThan(0.4);
    expect(rewards.at(-1)).toBeGreaterThan(0.8);
  });

  test.each([
    ...(["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "token-sum"] as const),
    "balanced" as const,
  ])("%s: micro-batches change nothing but rounding", async (aggregation) => {
    const options = { aggregation, beta: 0.1, entropyCoefficient: 0.01 };
    const system = systemWith({ loss: [surrogate(options)] });
    const first = async (microBatchSize: number) => {
      const { metrics } = await train({
        ...small,
        system,
        steps: 1,
        minibatchSize: 16,
        microBatchSize,
        maxGradNorm: null,
      });
      return metrics;
    };
    const whole = await first(16);
    const parts = await first(3);
    expect(whole.grad_norm).toBeGreaterThan(0);
    // Sums in another order: float32 rounding of a gradient's norm.
    expect(Math.abs(parts.grad_norm! / whole.grad_norm! - 1)).toBeLessThan(1e-5);
    expect(Math.abs(parts.loss! - whole.loss!)).toBeLessThan(1e-6);
    expect(parts.kl).toBeCloseTo(whole.kl!, 6);
    expect(parts["clip_ratio/region_mean"]).toBe(whole["clip_ratio/region_mean"]);
  });

  test.each([1, 0.7])(
    "at T = %f the sampler's log-probs are the trainer's to the last bit",
    async (temperature) => {
      const { metrics } = await train({ ...small, temperature, steps: 1 });
      expect(metrics["sampling/sampling_logp_difference/max"]).toBe(0);
      expect(metrics["sampling/importance_sampling_ratio/mean"]).toBe(1);
    },
  );

  test("an entropy bonus reaches the weights, and its loss reports the entropy as it is", async () => {
    const once = { ...small, steps: 1, minibatchSize: 16, maxGradNorm: null };
    const run = async (options: SurrogateOptions, numIterations: number) => {
      const system = systemWith({ loss: [surrogate(options)] });
      return (await train({ ...once, system, numIterations, learningRate: 1e-2 })).metrics;
    };
    const [plain, bonus] = [await run({}, 1), await run({ entropyCoefficient: 0.5 }, 1)];
    expect(bonus.entropy).toBeCloseTo(plain.entropy!, 5);
    expect(bonus.loss).toBeCloseTo(plain.loss! - 0.5 * plain.entropy!, 5);
    expect(bonus.grad_norm).not.toBe(plain.grad_norm);
    // After an update for entropy alone, the second pass finds more of it.
    const raised = await run({ entropyCoefficient: 5 }, 2);
    expect(raised.entropy).toBeGreaterThan(plain.entropy!);
  });

  test("a loss that corrects for the sampler reports the weights it used", async () => {
    const system = systemWith({
      loss: [surrogate({ mismatch: "token-truncate", mismatchHigh: 0.75 })],
    });
    const { metrics } = await train({ ...small, system, steps: 1 });
    expect(metrics["sampling/importance_sampling_ratio/mean"]).toBe(0.75);
    expect(metrics["sampling/sampling_logp_difference/max"]).toBe(0);
  });

  test("ratios are 1 in the first pass and move in the next: the old log-probs stay", async () => {
    const once = { ...small, steps: 1, minibatchSize: 16, learningRate: 1e-2 };
    const clipped = async (numIterations: number) => {
      const { metrics } = await train({ ...once, numIterations });
      return metrics["clip_ratio/region_mean"];
    };
    expect(await clipped(1)).toBe(0);
    expect(await clipped(2)).toBeGreaterThan(0);
  });

  test("keeps no memory behind", async () => {
    const engine = new Engine({ device: "cpu" });
    const policy = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer });
    const system = systemWith({ loss: [surrogate({ beta: 0.1 })] });
    const { device: _, ...options } = { ...small, engine, policy, system, warmStart: true };
    const live: number[] = [];
    for (const steps of [1, 5]) {
      await train({ ...options, steps });
      await engine.synchronize();
      live.push(engine.memory().live);
    }
    expect(live[1]).toBe(live[0]);
    policy.dispose();
    await engine.synchronize();
    expect(engine.memory().live).toBe(0);
    engine.dispose();
  });

  test("goes on from a folder of weights, without a warm start", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, steps: 1, out });
    const next = join(await temporaryFolder(), "next");
    let warm = 0;
    const policy = join(out, "checkpoint-1", "policy");
    await train({ ...small, policy, steps: 0, out: next, onWarmStart: () => ++warm });
    expect(warm).toBe(0);
    const [before, after] = [weightsOf(out, 1), weightsOf(next, 0)];
    expect(after["policy/model.safetensors"]).toBe(before["policy/model.safetensors"]);
  });

  test("constant and missing rewards teach nothing and break nothing", async () => {
    const rewards: RewardFunction[] = [
      ({ completions }) => completions.map(() => 1),
      ({ completions }) => completions.map(() => null),
      ({ completions }) => completions.map((_, i) => (i % 4 === 0 ? 1 : null)),
    ];
    for (const reward of rewards) {
      const out = join(await temporaryFolder(), "run");
      const task = taskWith(reward);
      await train({ ...small, task, steps: 0, out });
      const before = weightsOf(out, 0)["policy/model.safetensors"];
      await train({ resume: out, task, steps: 2 });
      expect(weightsOf(out, 2)["policy/model.safetensors"]).toBe(before);
      for (const metrics of (await metricsOf(out)).slice(1)) {
        expect(metrics).toMatchObject({ frac_reward_zero_std: 1, grad_norm: 0, loss: 0 });
      }
    }
  });
});

describe("metrics", () => {
  test("have every name at every step, null where nothing exists, never NaN", async () => {
    const out = join(await temporaryFolder(), "run");
    const task = taskWith(({ completions }) => completions.map(() => null));
    const lonely: TrainOptions = { ...small, task, promptsPerStep: 1, numGenerations: 1, steps: 3 };
    const named: string[][] = [];
    const onStep = ({ metrics }: StepReport) => named.push(Object.keys(metrics));
    await train({ ...lonely, out, onStep });
    for (const names of named.slice(1)) {
      expect(names).toEqual(expect.arrayContaining(Object.keys(stepMetrics)));
    }
    const [start, ...steps] = await metricsOf(out);
    expect(start).toEqual({ step: 0, "eval/accuracy": 0 });
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3]);
    for (const metrics of steps) {
      expect(metrics).toMatchObject({
        reward: null,
        reward_std: null,
        kl: null,
        "rewards/correct/mean": null,
      });
      expect(metrics.entropy).toBeGreaterThan(0);
      expect(metrics.learning_rate).toBe(2e-4);
    }
    expect(steps.map((metrics) => metrics["eval/accuracy"])).toEqual([null, 0, 0]);
    const tokens = steps.map((metrics) => metrics.num_tokens!);
    expect(tokens[0]).toBeGreaterThan(0);
    expect(tokens[1]).toBeGreaterThan(tokens[0]!);
    expect(tokens[2]).toBeGreaterThan(tokens[1]!);
  });
});

describe("what stages can reach", () => {
  test("forks go on from a rollout's first actions; scores are the policy's own", async () => {
    const seen: { parent: Trajectory; children: Trajectory[]; difference: number }[] = [];
    const system = systemWith({
      rollout: {
        block: "forking",
        options: [],
        async run(prompts, ctx) {
          const roots = await ctx.sample({ prompts, counts: 1 });
          const groups: Trajectory[] = [];
          for (const parent of roots) {
            const children = await ctx.fork(parent, 1, 3);
            const scores = await ctx.score(children);
            let difference = 0;
            for (const [c, child] of children.entries()) {
              const own = child.columns.samplerLogProb;
              const score = scores[c];
              if (own?.level !== "action" || score?.level !== "action")
                throw new Error("no log-probs");
              own.values.forEach((value, i) => {
                difference = Math.max(difference, Math.abs(value - score.values[i]!));
              });
            }
            seen.push({ parent, children, difference });
            groups.push(...children);
          }
          return intoGroups(prompts, groups, 3);
        },
      },
    });
    await train({ ...small, system, steps: 1 });
    expect(seen).toHaveLength(4);
    for (const { parent, children, difference } of seen) {
      expect(difference).toBe(0);
      for (const child of children) {
        if (child.actions.kind !== "tokens" || parent.actions.kind !== "tokens")
          throw new Error("kind");
        expect(child.actions.ids[0]).toBe(parent.actions.ids[0]);
        expect(child.actions.length).toBeLessThanOrEqual(6);
        expect(child.parent).toEqual({ trajectory: parent.id, at: 1 });
        expect(child.prompt).toBe(parent.prompt);
        expect(child.mask).toHaveLength(child.actions.length);
      }
    }
    const ids = seen.flatMap(({ parent, children }) => [parent, ...children].map(({ id }) => id));
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("a second phase runs on what the first one left in the state, its metrics under its name", async () => {
    const phase = { advantage: groupNormalize(), loss: [surrogate()] };
    const system = defineSystem({
      ...{ id: "two", title: "Two phases", arxiv: null, evidence: "low" },
      phases: [
        {
          name: "policy",
          ...phase,
          observe: {
            block: "remember",
            options: [],
            run({ groups }, ctx) {
              ctx.state.set(
                "remember/texts",
                groups.map((group) => group.trajectories[0]!.prompt.id),
              );
            },
          },
        },
        {
          name: "again",
          ...phase,
          source: {
            block: "recall",
            options: [],
            run(_, ctx) {
              const known = ctx.state.get<readonly string[]>("remember/texts", []);
              if (ctx.step === 1) return [];
              return known.map((id) =>
                ctx.tokenize({
                  id,
                  messages: [{ role: "user", content: `${id.split("/")[1]}=` }],
                  label: "0",
                  columns: {},
                }),
              );
            },
          },
        },
      ],
    });
    const lines: object[] = [];
    await train({ ...small, system, steps: 2, onStep: ({ metrics }) => lines.push(metrics) });
    expect(lines[1]).not.toHaveProperty(["again/reward"]);
    expect(lines[2]).toHaveProperty(["again/reward"]);
  });
});

test("a sampler is told of the weights before it samples, and says what it sampled with", async () => {
  const engine = new Engine({ device: "cpu" });
  const policy = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer });
  const embedded = new EmbeddedSampler(policy);
  const told: (number | "sample")[] = [];
  const versions = new Set<number>();
  const stale: Sampler = {
    name: "stale",
    capabilities: embedded.capabilities,
    async refresh(version) {
      told.push(version);
    },
    async sample(request) {
      told.push("sample");
      return (await embedded.sample(request)).map((t) => ({ ...t, policyVersion: 17 }));
    },
  };
  const system = systemWith({
    observe: {
      block: "look",
      options: [],
      run({ groups }) {
        for (const t of groups.flatMap((group) => group.trajectories))
          versions.add(t.policyVersion);
      },
    },
  });
  const { device: _, ...options } = { ...small, engine, policy, system, sampler: stale };
  const out = join(await temporaryFolder(), "run");
  await train({ ...options, warmStart: true, steps: 1, out });
  // Evaluation at the start, the step's rollouts, two updates, evaluation at the end.
  expect(told).toEqual([0, "sample", "sample", 2, "sample"]);
  expect([...versions]).toEqual([17]);
  told.length = 0;
  const { task } = small;
  await train({ resume: out, engine, policy, system, task, sampler: stale, steps: 2 });
  expect(told.slice(0, 2)).toEqual([2, "sample"]);
  policy.dispose();
  engine.dispose();
});

describe("what cannot work is refused before the first rollout", () => {
  const rolledOut: string[] = [];
  const watched: Partial<PhaseDefinition> = {
    rollout: {
      ...extraRollouts(1),
      run: () => {
        rolledOut.push("yes");
        return [];
      },
    },
  };

  test.each<[string, TrainOptions, string, RegExp]>([
    [
      "an unknown option",
      { stesp: 3 } as TrainOptions,
      "ERR_OPTION",
      /"stesp" \(did you mean "steps"\?\)/,
    ],
    [
      "an unknown system",
      { system: "grop" },
      "ERR_OPTION",
      /received "grop" \(did you mean "grpo"\?\)/,
    ],
    ["no system", { system: null as never }, "ERR_OPTION", /for system but received null/],
    [
      "no definition",
      { system: {} as never },
      "ERR_OPTION",
      /a text for system\.id but received undefined/,
    ],
    ["no task", { task: {} as never }, "ERR_OPTION", /a text for task\.id but received undefined/],
    ["no policy", { policy: 7 as never }, "ERR_OPTION", /for policy but received 7/],
    ["no such type", { dtype: "bf17" as never }, "ERR_OPTION", /did you mean "bf16"\?/],
    [
      "a type for a policy that has one",
      {
        dtype: "bf16",
        policy: {
          ...{ kind: "tokens", maxLength: 8 },
          ...Object.fromEntries(
            ["sample", "score", "forward", "clone", "save", "dispose"].map((name) => [
              name,
              () => {},
            ]),
          ),
        } as never,
      },
      "ERR_OPTION",
      /nothing \(the policy has its own\) for dtype/,
    ],
    ["no folder", { out: "" }, "ERR_OPTION", /a path for out but received ""/],
    ["no function", { onStep: 1 as never }, "ERR_OPTION", /a function for onStep but received 1/],
    ["an unknown task", { task: "arithmetics" }, "ERR_OPTION", /did you mean "arithmetic"\?/],
    [
      "an unknown device",
      { device: "gpu" as never },
      "ERR_OPTION",
      /for device but received "gpu"/,
    ],
    ["a folder without a policy", { policy: "/nonexistent" }, "ERR_CHECKPOINT", /nonexistent/],
    ["a negative number of steps", { steps: -1 }, "ERR_OPTION", /train\.steps but received -1/],
    ["a temperature of 0", { temperature: 0 }, "ERR_OPTION", /a number > 0 for train\.temperature/],
    [
      "a sampler that cannot do what a block needs",
      { system: systemWith({ rollout: { ...watched.rollout!, requires: ["force"] } }) },
      "ERR_SAMPLER",
      /a sampler that can do "force" \(block extraRollouts of test\) but "embedded" cannot/,
    ],
    [
      "a task without training prompts",
      { task: { ...shortTask, train: [] } },
      "ERR_OPTION",
      /Expected training prompts/,
    ],
    [
      "a task that leaves out what was measured for it",
      {
        task: {
          ...shortTask,
          settings: { ...shortTask.settings, temperature: undefined as never },
        },
      },
      "ERR_OPTION",
      /a number > 0 for task\.settings\.temperature but received undefined/,
    ],
    [
      "a task of another kind",
      { task: { ...shortTask, kind: "flow" } },
      "ERR_OPTION",
      /Expected a policy over flow/,
    ],
  ])("%s", async (_, options, code, message) => {
    const system = systemWith(watched);
    await expect(train({ ...small, system, ...options })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(rolledOut).toEqual([]);
  });

  test("a row without a column that the loss reads", async () => {
    const advantage = {
      block: "forgetful",
      options: [],
      run: (groups: readonly Group[]) => [...groups],
    };
    const run = train({ ...small, system: systemWith({ advantage }), warmStart: false });
    await expect(run).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /a column "advantage" in every row of phase "policy" \(surrogate reads it\)/,
      ),
    });
  });

  test("a reward that throws stops the run and leaves its last checkpoint", async () => {
    const out = join(await temporaryFolder(), "run");
    let calls = 0;
    const task = taskWith(({ completions }) => {
      if (++calls > 2) throw new Error("the judge is away");
      return completions.map((_, i) => i % 2);
    });
    const run = train({ ...small, task, out, evalSteps: null });
    await expect(run).rejects.toMatchObject({
      code: "ERR_REWARD",
      message: expect.stringMatching(/the judge is away/),
    });
    await expect(run).rejects.toBeInstanceOf(FiresteelError);
    expect(Object.keys(weightsOf(out, 1))).toHaveLength(2);
  });
});

test("mc-grpo warns of 0/1 rewards and trains on G of its G + 1 rollouts", async () => {
  const warnings: string[] = [];
  const { metrics } = await train({
    ...small,
    system: "mc-grpo",
    steps: 1,
    onWarning: (warning) => warnings.push(warning),
  });
  expect(warnings).toEqual([expect.stringContaining("median deviation of every group is 0")]);
  expect(metrics.reward).not.toBeNull();
});
