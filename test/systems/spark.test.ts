import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { recycle, recycled, surrogate } from "../../src/blocks/index.js";
import type {
  Observer,
  PhaseReport,
  Question,
  Sampler,
  System,
  Task,
} from "../../src/contract/index.js";
import { mixTasks } from "../../src/data/mixTasks.js";
import { Engine } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { EmbeddedSampler } from "../../src/samplers/embedded.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { systems } from "../../src/systems/index.js";
import { sparkSystem } from "../../src/systems/language/sparkSystem.js";
import { tasks } from "../../src/tasks/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { scoreRows } from "../../src/trainer/scores.js";
import { lastBoxed } from "../../src/verifiers/boxed.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "../trainer/runs.js";

/** The phases of a short run, in order. */
async function phasesOf(options: TrainOptions): Promise<PhaseReport[]> {
  const phases: PhaseReport[] = [];
  const phase = (report: PhaseReport) => void phases.push(report);
  await train({ ...small, onWarning: () => {}, callbacks: [{ phase }], ...options });
  return phases;
}

const textsOf = ({ groups }: PhaseReport) =>
  groups.map(({ prompt }) => prompt.messages.map(({ content }) => content).join(""));

/** SPARK with further observers in both phases. */
function watched(system: System, observer: Observer): System {
  const phases = system.phases.map((p) => ({ ...p, observe: [...p.observe, observer] }));
  return { ...system, phases };
}

test("the recipes say what they are", () => {
  const ids = ["", "-balanced", "-policy-only", "-reward-only", "-static-judge"];
  expect(ids.map((id) => systems[`spark${id}`]?.arxiv)).toEqual(ids.map(() => "2509.22624"));
  const { phases, inference } = systems.spark!;
  expect(phases.map(({ name, update }) => [name, update])).toEqual([
    ["policy", {}],
    ["recycled", {}],
  ]);
  expect(inference?.block).toBe("reflect");
  const balanced = systems["spark-balanced"]!;
  expect(balanced.phases.map(({ update }) => update.minibatchSize)).toEqual([256, 32]);
  expect(balanced.title).toMatch(/balanced/);
  // Both phases have the same statistics and the same loss.
  for (const { advantage, loss } of [...phases, ...balanced.phases]) {
    expect(advantage!.options).toEqual(phases[0]!.advantage!.options);
    expect(loss[0]!.options).toEqual(phases[0]!.loss[0]!.options);
    expect(loss[0]!.models).toEqual(["reference"]);
  }
  expect(sparkSystem({ ablation: "static-judge", balanced: true }).id).toBe(
    "spark-static-judge-balanced",
  );
});

describe("SPARK", () => {
  let phases: PhaseReport[];
  beforeAll(async () => {
    phases = await phasesOf({ system: "spark", steps: 6 });
  });

  test("asks recycled prompts of the step's own rollouts, as many as the policy's batch", () => {
    const recycledPhases = phases.filter(({ phase }) => phase === "recycled");
    expect(phases.filter(({ phase }) => phase === "policy")).toHaveLength(6);
    expect(recycledPhases.length).toBeGreaterThan(0);
    for (const report of recycledPhases) {
      expect(report.groups).toHaveLength(4);
      for (const { prompt, trajectories } of report.groups) {
        expect(["pointwise", "pairwise", "reflectTrace", "reflectAnswer"]).toContain(prompt.kind);
        expect(trajectories).toHaveLength(4);
        // The policy has been updated since: these are its own rollouts, not the quoted ones.
        expect(trajectories[0]!.policyVersion).toBeGreaterThan(0);
      }
    }
    // What a recycled phase has sampled is not recycled again.
    const policyOnly = phases.filter(({ phase }) => phase === "policy");
    for (const { groups } of policyOnly) {
      expect(groups.every(({ prompt }) => prompt.kind === "policy")).toBe(true);
    }
  });

  test("counts what it makes, and never more than half of the batch of a kind", () => {
    let queue = 0;
    for (const { phase, metrics } of phases) {
      if (phase === "recycled") queue -= 4;
      else {
        expect(metrics["recycle/judge"]).toBeLessThanOrEqual(2);
        expect(metrics["recycle/reflection"]).toBeLessThanOrEqual(2);
        queue += metrics["recycle/judge"]! + metrics["recycle/reflection"]!;
        expect(metrics["recycle/queue"]).toBe(queue);
        expect(metrics["recycle/too_long"]).toBe(0);
      }
    }
  });

  test("goes on after a kill as if it had never stopped, its queue included", async () => {
    // A batch of 6 from at most 4 a step: something waits at every checkpoint.
    const spark = sparkSystem();
    const [policy, again] = spark.phases;
    const system = { ...spark, phases: [policy!, { ...again!, source: recycled({ batch: 6 }) }] };
    const options = { ...small, system, steps: 5 };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...options, out: whole });
    const killed = join(await temporaryFolder(), "killed");
    const run = train({
      ...options,
      out: killed,
      onStep({ step }) {
        if (step === 4) throw new Error("killed");
      },
    });
    await expect(run).rejects.toThrow("killed");
    await train({ resume: killed, system, task: small.task });
    expect(weightsOf(killed, 5)).toEqual(weightsOf(whole, 5));
    const metrics = await metricsOf(whole);
    expect(await metricsOf(killed)).toEqual(metrics);
    expect(metrics.some((line) => typeof line["recycled/reward"] === "number")).toBe(true);
    expect(metrics[3]!["recycle/queue"]).toBeGreaterThan(0);
  });

  test("empties the queue where an epoch begins, unless told otherwise", async () => {
    // Two steps are an epoch; the batch is never full.
    const task = { ...shortTask, train: shortTask.train.slice(0, 8) };
    const waiting = async (clear: "epoch" | "never") => {
      const spark = sparkSystem();
      const [policy, again] = spark.phases;
      const never = { ...again!, source: recycled({ batch: 99 }) };
      const system = { ...spark, phases: [{ ...policy!, observe: [recycle({ clear })] }, never] };
      const phases = await phasesOf({ system, task, steps: 4 });
      const made = phases.map(({ metrics: m }) => m["recycle/judge"]! + m["recycle/reflection"]!);
      return { queue: phases.map(({ metrics }) => metrics["recycle/queue"]), made };
    };
    const { queue, made } = await waiting("epoch");
    const [a, b, c, d] = made as [number, number, number, number];
    expect(queue).toEqual([a, a + b, c, c + d]);
    expect((await waiting("never")).queue).toEqual([a, a + b, a + b + c, a + b + c + d]);
  });

  test("leaves out what would not fit the policy's context, and counts it", async () => {
    // maxLength 1024: with this limit of the completion no recycled prompt has room.
    const phases = await phasesOf({ system: "spark", steps: 1, maxCompletionLength: 1018 });
    expect(phases).toHaveLength(1);
    expect(phases[0]!.metrics["recycle/queue"]).toBe(0);
    expect(phases[0]!.metrics["recycle/too_long"]).toBeGreaterThan(0);
  });

  test("measures its KL from the initial policy, in both phases and to the end", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...small, steps: 0, out });
    const engine = new Engine({ device: "cpu" });
    const initial = await TokenPolicy.open(engine, join(out, "checkpoint-0", "policy"));
    const seen: string[] = [];
    const system = watched(sparkSystem(), {
      block: "compare",
      options: [],
      async run({ phase, groups }, ctx) {
        const rows = groups.flatMap(({ trajectories }) => trajectories);
        const asked = await ctx.score(rows, { model: "reference" });
        const settings = { temperature: 1, microBatchSize: 256 };
        const run = { settings, abort: new AbortController().signal };
        const expected = await scoreRows(run, initial, rows);
        const values = asked.map((c) => (c.level === "action" ? [...c.values] : []));
        expect(values).toEqual(expected.map(({ logProb }) => [...logProb]));
        seen.push(phase);
      },
    });
    await train({ ...small, system, learningRate: 1e-2 });
    expect(new Set(seen)).toEqual(new Set(["policy", "recycled"]));
    initial.dispose();
    engine.dispose();
  });
});

test("a task without forms is recycled in English: first boxes are quoted, last ones verified", async () => {
  const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("");
  const tokenizer = new CharTokenizer(`${printable}\n`);
  const engine = new Engine({ device: "cpu" });
  const policy = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer });
  const suffix = "\nBox the answer.";
  const train4 = [1, 2, 3, 4].map((n) => ({
    id: `sum/${n}`,
    messages: [{ role: "user" as const, content: `What is 1 + ${n}?${suffix}` }],
    label: String(n + 1),
    columns: { suffix },
    kind: "policy",
  }));
  const { forms: _, ...rest } = shortTask;
  const task: Task = {
    ...rest,
    alphabet: null,
    train: train4,
    evaluation: train4,
    rewards: {
      correct: ({ completions, prompts }) =>
        completions.map((text, i) => (lastBoxed(text) === prompts[i]!.label ? 1 : 0)),
    },
  };
  // Says its first box and then its last one; every second rollout is right.
  const embedded = new EmbeddedSampler(policy);
  const sampler: Sampler = {
    name: "scripted",
    capabilities: embedded.capabilities,
    refresh: async () => {},
    sample: async (request) =>
      (await embedded.sample({ ...request, greedy: true })).map((t, i) => {
        const last = i % 2 === 0 ? String(t.prompt.label) : "0";
        const text = `First \\boxed{${last}0}, no: \\boxed{${last}}`;
        const ids = Int32Array.from([...tokenizer.encode(text), tokenizer.endOfSequence]);
        const actions = { kind: "tokens" as const, length: ids.length, ids };
        const mask = new Uint8Array(ids.length).fill(1);
        return { ...t, text, actions, mask, columns: {} };
      }),
  };
  const warnings: string[] = [];
  const phases = await phasesOf({
    ...{ engine, policy, sampler, task, device: undefined },
    system: "spark",
    steps: 2,
    maxCompletionLength: 64,
    onWarning: (warning) => warnings.push(warning),
  });
  expect(warnings).toEqual(["The task has no forms of its own: recycle asks in English"]);
  const again = phases.filter(({ phase }) => phase === "recycled");
  expect(again.length).toBeGreaterThan(0);
  for (const { groups } of again) {
    for (const { prompt, trajectories } of groups) {
      const text = prompt.messages[0]!.content;
      expect(text).toContain("What is 1 + ");
      expect(text).not.toContain("Box the answer.");
      expect(trajectories.map(({ reward }) => reward)).toEqual([1, 0, 1, 0]);
      if (prompt.kind === "reflectTrace")
        expect(text).toContain("First \\boxed{00}, no: \\boxed{0}");
      else if (prompt.kind === "pointwise") expect(text).toMatch(/\n(\d0|00)\n/);
      else if (prompt.kind === "reflectAnswer") expect(text).toContain("\n00\n");
    }
  }
  policy.dispose();
  engine.dispose();
});

test("a run reports how well it judges and revises held-out questions", async () => {
  const { evaluations } = tasks.arithmetic!;
  const { start } = await train({ ...small, task: { ...shortTask, evaluations }, steps: 0 });
  expect(Object.keys(start)).toEqual([
    "eval/accuracy",
    "judge/pointwise_accuracy",
    "judge/pairwise_accuracy",
    "reflection/accuracy",
  ]);
  for (const share of Object.values(start)) expect(share).toBeGreaterThanOrEqual(0);
});

describe("ablations", () => {
  test("reward-only: the policy's rollouts are recycled and not trained on", async () => {
    const system = "spark-reward-only";
    const phases = await phasesOf({ system, steps: 6 });
    const policy = phases.filter(({ phase }) => phase === "policy");
    expect(policy.every(({ trained }) => trained.length === 0)).toBe(true);
    expect(policy.every(({ metrics }) => metrics.grad_norm === undefined)).toBe(true);
    const again = phases.filter(({ phase }) => phase === "recycled");
    expect(again.length).toBeGreaterThan(0);
    expect(again.every(({ trained }) => trained.length === 4)).toBe(true);
  });

  test("static judge: its data are the initial policy's, whatever the policy becomes", async () => {
    const system = "spark-static-judge";
    const asked = async (learningRate: number, steps = 6) => {
      const phases = await phasesOf({ system, steps, learningRate });
      return phases.filter(({ phase }) => phase === "recycled").map(textsOf);
    };
    const slow = await asked(1e-4);
    expect(slow).toHaveLength(6);
    expect(await asked(1e-2)).toEqual(slow);
    const coevolving = await Promise.all(
      [1e-4, 1e-2].map(async (learningRate) => {
        const phases = await phasesOf({ system: "spark", steps: 6, learningRate });
        return phases.filter(({ phase }) => phase === "recycled").map(textsOf);
      }),
    );
    expect(coevolving[0]).not.toEqual(coevolving[1]);
  });

  test("static judge data without a reference model are refused before the first rollout", async () => {
    const { phases } = sparkSystem({ ablation: "static-judge" });
    const system = defineSystem({
      ...{ id: "test", title: "Without KL", arxiv: null, evidence: "low" },
      phases: phases.map((phase) => ({ ...phase, loss: [surrogate()] })),
    });
    await expect(train({ ...small, system })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(/a loss that keeps the model "reference"/),
    });
  });

  test("static judge goes round its data, and resumes within", async () => {
    const system = sparkSystem({ ablation: "static-judge" });
    const options = { ...small, system, steps: 3 };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...options, out: whole });
    const parts = join(await temporaryFolder(), "parts");
    const run = train({
      ...options,
      out: parts,
      onStep({ step }) {
        if (step === 2) throw new Error("killed");
      },
    });
    await expect(run).rejects.toThrow("killed");
    await train({ resume: parts, system, task: small.task });
    expect(weightsOf(parts, 3)).toEqual(weightsOf(whole, 3));
  });
});

test("what else a phase draws does not shift the recycler", async () => {
  const drawing: Observer = {
    block: "drawing",
    options: [],
    run: (_, ctx) => void ctx.uniform(),
  };
  const spark = sparkSystem();
  const [policy, again] = spark.phases;
  const system = { ...spark, phases: [{ ...policy!, observe: [drawing, recycle()] }, again!] };
  const [plain, shifted] = [
    await phasesOf({ system: spark, steps: 4 }),
    await phasesOf({ system, steps: 4 }),
  ];
  expect(shifted.map(textsOf)).toEqual(plain.map(textsOf));
});

describe("SPARK on a mixture", () => {
  const letters = tasks.arithmetic!;
  /** The same questions asked with "x" before them, whose judge answers "Y" and "N". */
  const { forms } = letters;
  const marked = (text: string) => `x${text}`;
  const own: Task = {
    ...shortTask,
    id: "marked",
    alphabet: `${letters.alphabet}xYN`,
    train: shortTask.train.slice(0, 8).map((question) => ({
      ...question,
      messages: question.messages.map((m) => ({ ...m, content: marked(m.content) })),
    })),
    warmStart: [],
    forms: {
      ...forms!,
      pointwise: forms!.pointwise.map((p) => ({
        text: marked(p.text),
        right: "Y",
        wrong: "N",
      })),
      pairwise: forms!.pairwise.map(marked),
      quoted: (question) => forms!.quoted(question).replace("x", ""),
    },
  };

  test("asks about each task's answers in its own forms, and its own rewards judge that", async () => {
    const task = mixTasks([{ task: shortTask }, { task: own }]);
    const seen: Question[] = [];
    const out = join(await temporaryFolder(), "mixed");
    await train({
      ...small,
      ...{ system: "spark", task, steps: 4, out },
      onWarning: (warning) => expect(warning).toBe(""),
      callbacks: [
        {
          phase({ phase, groups }) {
            if (phase === "recycled") seen.push(...groups.map(({ prompt }) => prompt));
          },
        },
      ],
    });
    const judging = seen.filter(({ kind }) => kind === "pointwise" || kind === "pairwise");
    expect(new Set(judging.map((prompt) => prompt.task))).toEqual(
      new Set(["arithmetic", "marked"]),
    );
    for (const { messages, kind, label, task } of judging) {
      expect(messages[0]!.content.startsWith("x")).toBe(task === "marked");
      if (kind === "pointwise")
        expect(task === "marked" ? ["Y", "N"] : ["y", "n"]).toContain(label);
    }
  });

  test("is refused where a task has no forms that the policy can read", async () => {
    const { forms: _, ...formless } = own;
    const task = mixTasks([{ task: shortTask }, { task: formless }]);
    await expect(train({ ...small, system: "spark", task })).rejects.toThrow(
      /that the policy can read for recycle/,
    );
  });
});

test("columns that no checkpoint can hold stay behind, and the run goes on to the same bits", async () => {
  const strange = { big: 3n, day: new Date(0), absent: undefined, oid: { $oid: "1" }, level: 2 };
  const task: Task = {
    ...shortTask,
    train: shortTask.train.map((question) => ({
      ...question,
      columns: { ...question.columns, ...strange },
    })),
  };
  const queueing = { ...sparkSystem() };
  const [policy, again] = queueing.phases;
  const system = { ...queueing, phases: [policy!, { ...again!, source: recycled({ batch: 6 }) }] };
  const whole = join(await temporaryFolder(), "whole");
  await train({ ...small, system, task, steps: 4, out: whole });
  const out = join(await temporaryFolder(), "killed");
  const onStep = ({ step }: { step: number }) => {
    if (step === 3) throw new Error("killed");
  };
  await expect(train({ ...small, system, task, steps: 4, out, onStep })).rejects.toThrow("killed");
  const state = await readFile(join(out, "checkpoint-2", "state.json"), "utf8");
  expect(state).toMatch(/"level":2/);
  await train({ resume: out, system, task });
  expect(weightsOf(out, 4)).toEqual(weightsOf(whole, 4));
});
