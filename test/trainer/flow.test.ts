import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { flowKl, flowRollout, groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { Metrics, RolloutPlan, Sampler, System, Task } from "../../src/contract/index.js";
import { defineSystem, type PhaseDefinition } from "../../src/systems/defineSystem.js";
import { tasks } from "../../src/tasks/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { shortTask, small } from "./runs.js";

const flow2d = tasks.flow2d!;

/** flow2d with a short pre-training, which still parts the modes. */
const briefTask: Task = {
  ...flow2d,
  warmStart: flow2d.warmStart.map((stage) => ({ ...stage, steps: 60, batchSize: 64 })),
};

const brief: TrainOptions = { ...small, system: "flow-grpo", task: briefTask, seed: 3 };

const head = { id: "test", title: "For a test", arxiv: null, evidence: "low" } as const;

function systemWith(phase: Partial<PhaseDefinition>): System {
  const of = { policy: "flow", task: "flow2d", rollout: flowRollout() } as const;
  const loss = [surrogate({ epsilon: 0.05 })];
  return defineSystem({ ...head, ...of, advantage: groupNormalize(), loss, ...phase });
}

describe("training a flow policy", () => {
  test.each(["flow-grpo", "dance-grpo"])(
    "%s raises the proxy reward within seconds",
    async (system) => {
      const seen: Metrics[] = [];
      const { start, metrics } = await train({
        system,
        device: "cpu",
        seed: 1,
        task: {
          ...flow2d,
          warmStart: flow2d.warmStart.map((stage) => ({ ...stage, steps: 200, batchSize: 128 })),
        },
        steps: 25,
        evalSamples: 32,
        evalSteps: null,
        onStep: ({ step, metrics }) => step > 0 && seen.push(metrics),
      });
      const gain = metrics["eval/rewards/proxy/mean"]! - start["eval/rewards/proxy/mean"]!;
      expect(gain).toBeGreaterThan(0.15);
      expect(seen[0]).toMatchObject({
        entropy: null,
        kl: null,
        "eval/accuracy": null,
        "completions/mean_length": 10,
        "completions/clipped_ratio": 0,
        "sampling/sampling_logp_difference/max": 0,
      });
      // Gold is reported, not trained.
      expect(seen[0]!.reward).toBe(seen[0]!["rewards/proxy/mean"]);
      expect(seen[0]!["rewards/gold/mean"]).toBeGreaterThan(0);
    },
  );

  test("micro-batches change nothing but rounding, with a KL to the reference", async () => {
    const system = systemWith({ loss: [surrogate({ epsilon: 0.05 }), flowKl({ beta: 0.5 })] });
    const last = async (microBatchSize: number) => {
      const { metrics } = await train({ ...brief, system, microBatchSize, steps: 2 });
      return metrics;
    };
    const [whole, parts] = [await last(256), await last(3)];
    for (const name of ["loss", "grad_norm", "kl", "reward"]) {
      expect(parts[name]! / whole[name]!, name).toBeCloseTo(1, 4);
    }
    expect(whole.kl).toBeGreaterThan(0);
  });

  test("a KL with a large coefficient holds the policy near the reference", async () => {
    const kl = async (beta: number) => {
      const system = systemWith({ loss: [surrogate({ epsilon: 0.05 }), flowKl({ beta })] });
      return (await train({ ...brief, system, steps: 8, evalSteps: null })).metrics.kl!;
    };
    expect(await kl(30)).toBeLessThan(0.5 * (await kl(0)));
  });

  test("the steps of a system may take its rollouts apart: forks, other models, means", async () => {
    const found: number[][] = [];
    const branching: RolloutPlan = {
      block: "branching",
      options: [],
      async run(prompts, ctx) {
        const seeds = await ctx.sample({ prompts, counts: 1 });
        const groups = await Promise.all(
          seeds.map(async (seed) => ({
            key: seed.prompt.id,
            prompt: seed.prompt,
            trajectories: await ctx.fork(seed, 4, 4),
          })),
        );
        for (const { trajectories } of groups) {
          const scored = await ctx.score(trajectories);
          for (const [i, { actions, columns }] of trajectories.entries()) {
            const [exact, sampled] = [scored[i]!, columns.samplerLogProb!];
            if (exact.level !== "action" || sampled.level !== "action") throw new Error("level");
            expect(exact.values).toEqual(sampled.values);
            if (actions.kind === "flow")
              found.push([actions.length, ...actions.states.slice(8, 10)]);
          }
        }
        return groups;
      },
    };
    await train({ ...brief, system: systemWith({ rollout: branching }), steps: 1 });
    expect(found).toHaveLength(16);
    for (let i = 0; i < 16; ++i) expect(found[i]).toEqual(found[4 * Math.floor(i / 4)]);
    expect(new Set(found.map(String)).size).toBe(4);
  });

  test("is evaluated along the ODE by the means of the task's rewards", async () => {
    const { start } = await train({ ...brief, steps: 0, evalSamples: 3 });
    expect(Object.keys(start)).toEqual(["eval/rewards/proxy/mean", "eval/rewards/gold/mean"]);
  });

  test("a policy's folder goes on without pre-training", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...brief, out, steps: 1 });
    const policy = join(out, "checkpoint-1", "policy");
    const { start, steps } = await train({ ...brief, policy, steps: 1 });
    expect(steps).toBe(1);
    expect(start["eval/rewards/proxy/mean"]).not.toBeNull();
    const tokens = train({ system: "grpo", task: shortTask, device: "cpu", policy, steps: 1 });
    await expect(tokens).rejects.toThrow(
      'Expected a policy over tokens for task "arithmetic" but it acts in flow',
    );
  });
});

describe("what cannot be trained is refused before anything is computed", () => {
  const far: Sampler = {
    name: "far",
    capabilities: new Set(["logProbs"] as const),
    sample: async () => [],
    refresh: async () => {},
  };
  const entropy = systemWith({ loss: [surrogate({ entropyCoefficient: 0.01 })] });
  const means = defineSystem({ ...head, advantage: groupNormalize(), loss: [flowKl()] });
  const nameless = { ...briefTask, train: [{ ...briefTask.train[0]!, id: "q", columns: {} }] };
  const evaluations = { "judge/accuracy": briefTask.train };
  test.each<[string, TrainOptions, RegExp]>([
    [
      "a token system",
      { system: "grpo" },
      /over tokens for system "grpo" but that of task "flow2d" acts in flow/,
    ],
    [
      "a flow system on a token task",
      { system: "flow-grpo", task: shortTask },
      /over flow for system "flow-grpo" but that of task "arithmetic" acts in tokens/,
    ],
    [
      "a sampler that does not know flows",
      { sampler: far },
      /a sampler that can do "flow" \(block flowRollout of flow-grpo\) but "far" cannot/,
    ],
    ["a temperature", { temperature: 0.5 }, /1 \(a flow policy has no logits\) for temperature/],
    ["a question without condition", { task: nameless }, /column "condition" of question "q"/],
    ["16 bits", { dtype: "bf16" }, /"f32" \(a flow policy has no other\) for dtype/],
    ["an entropy bonus", { system: entropy }, /surrogate reads it\) but it acts in flow/],
    [
      "a mixture",
      { task: undefined, mix: [{ task: briefTask }, { task: { ...briefTask, id: "other" } }] },
      /whose answers are right or wrong, .* but those of "flow2d" are not/,
    ],
    ["votes", { evalMajAtK: [2] }, /not right or wrong\) for evalMajAtK/],
    [
      "an accuracy",
      { bestMetric: "eval/accuracy", keepBest: true },
      /one of "eval\/rewards\/proxy\/mean"/,
    ],
    ["answers that are right", { task: { ...briefTask, evaluations } }, /not right or wrong/],
    [
      "means of tokens",
      { task: shortTask, system: means },
      /flowKl reads it\) but it acts in tokens/,
    ],
  ])("%s", async (_, change, message) => {
    let steps = 0;
    const run = train({ ...brief, ...change, onStep: () => ++steps, onWarmStart: () => ++steps });
    await expect(run).rejects.toThrow(message);
    expect(steps).toBe(0);
  });
});

test("a system without a task named is trained on the one that it is shown on", async () => {
  const names: string[] = [];
  const begin = ({ task }: { task: Task }) => void names.push(task.id);
  const callbacks = [{ begin }];
  await train({ system: "flow-grpo", device: "cpu", warmStart: false, steps: 0, callbacks });
  await train({ device: "cpu", warmStart: false, steps: 0, evalSamples: 1, callbacks });
  expect(names).toEqual(["flow2d", "arithmetic"]);
});
