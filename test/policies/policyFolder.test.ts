import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findPolicy, policyFolder } from "../../src/policies/policyFolder.js";
import { serve } from "../../src/serve/serve.js";
import { solve } from "../../src/solve.js";
import { train } from "../../src/train.js";
import { keptFolder, temporaryFolder } from "../folders.js";
import { shortTask, small } from "../trainer/runs.js";

let run: string;
let remove = async () => {};

beforeAll(async () => {
  const kept = await keptFolder();
  remove = kept.remove;
  run = join(kept.folder, "run");
  await train({ ...small, out: run, keepCheckpoints: 3 });
});
afterAll(() => remove());

describe("a run's folder stands for a policy", () => {
  test("its newest checkpoint's, by number", async () => {
    expect(await policyFolder(run)).toBe(join(run, "checkpoint-4", "policy"));
    const many = join(await temporaryFolder(), "many");
    await mkdir(many);
    for (const name of ["checkpoint-9", "checkpoint-10", "warm-start-200"]) {
      await cp(join(run, "checkpoint-4"), join(many, name), { recursive: true });
    }
    expect(await policyFolder(many)).toBe(join(many, "checkpoint-10", "policy"));
    await rm(join(many, "checkpoint-10"), { recursive: true });
    await rm(join(many, "checkpoint-9"), { recursive: true });
    expect(await policyFolder(many)).toBe(join(many, "warm-start-200", "policy"));
  });

  test("its best checkpoint's, where the run kept it", async () => {
    const out = join(await temporaryFolder(), "best");
    const { best } = await train({
      ...small,
      ...{ out, keepBest: true, greaterIsBetter: false, evalSteps: 1 },
    });
    expect(await policyFolder(out)).toBe(join(out, `checkpoint-${best!.step}`, "policy"));
    expect(await policyFolder(join(out, "best"))).toBe(join(out, "best", "policy"));
  });

  test("a checkpoint's and a policy's own folder are what they are", async () => {
    const checkpoint = join(run, "checkpoint-3");
    expect(await policyFolder(checkpoint)).toBe(join(checkpoint, "policy"));
    expect(await policyFolder(join(checkpoint, "policy"))).toBe(join(checkpoint, "policy"));
  });

  test("what holds none is refused by name", async () => {
    const empty = await temporaryFolder();
    expect(await findPolicy(empty)).toBeNull();
    await expect(policyFolder(empty)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: `Expected a policy in ${empty} (its config.json and weights, a checkpoint, or a run) but there is none`,
    });
    await expect(policyFolder(join(empty, "none"))).rejects.toThrow(/but it does not exist$/);
  });
});

test("solve and serve refuse a policy that is none over tokens, train one that cannot read the task", async () => {
  const out = join(await temporaryFolder(), "flow");
  const options = { device: "cpu", steps: 0, warmStart: false, evalSamples: 1 } as const;
  await train({ ...options, system: "flow-grpo", out });
  const refused = {
    code: "ERR_OPTION",
    message: expect.stringMatching(/a policy over tokens in .* but it acts in flow/),
  };
  const asking = { policy: out, prompts: ["0="], device: "cpu" } as const;
  await expect(solve(asking)).rejects.toMatchObject(refused);
  await expect(serve({ policy: out, port: 0, device: "cpu" })).rejects.toMatchObject(refused);
  await expect(train({ ...options, policy: out })).rejects.toThrow(/tokens for task "arithmetic"/);

  const task = { ...shortTask, alphabet: "0123=", warmStart: [] };
  const narrow = join(await temporaryFolder(), "narrow");
  await train({ ...options, system: "grpo", task, out: narrow });
  await expect(solve({ ...asking, policy: narrow, reflect: 1 })).rejects.toMatchObject({
    code: "ERR_OPTION",
    message: expect.stringMatching(
      /that the policy can read for reflect but it has no token for "\?"/,
    ),
  });
  await expect(solve({ ...asking, policy: narrow })).resolves.toHaveLength(1);
  const other = shortTask.train.map((q) => ({
    ...q,
    messages: [{ ...q.messages[0]!, content: "9=" }],
  }));
  await expect(
    train({ ...options, task: { ...shortTask, train: other }, policy: narrow }),
  ).rejects.toMatchObject({
    code: "ERR_OPTION",
    message: expect.stringMatching(/a policy that can read task "arithmetic" but prompt/),
  });
});

test("solve, serve and train take a run's folder", async () => {
  const [solution] = await solve({ policy: run, prompts: ["0123="], device: "cpu" });
  expect(solution?.question).toBe("0123=");

  const server = await serve({ policy: run, port: 0, device: "cpu" });
  expect(server.directory).toBe(join(run, "checkpoint-4", "policy"));
  await server.close();

  const out = join(await temporaryFolder(), "next");
  const { task: _, ...short } = small;
  const options = { ...short, task: shortTask, system: "opd", models: { teacher: run } };
  await train({ ...options, policy: run, steps: 1, out, onWarning: () => {} });
  const again = { resume: out, task: shortTask, steps: 2, models: { teacher: run }, policy: run };
  await expect(train(again)).resolves.toMatchObject({ steps: 2 });
  const other = { ...again, policy: join(run, "checkpoint-3") };
  await expect(train(other)).rejects.toThrow(/with which the run began, for policy/);
  const models = { teacher: join(run, "checkpoint-3") };
  await expect(train({ ...again, models })).rejects.toThrow(/for models\.teacher/);
});
