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
