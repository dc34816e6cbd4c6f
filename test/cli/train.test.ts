import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { tasks } from "../../src/tasks/index.js";
import { temporaryFolder } from "../folders.js";
import { weightsOf } from "../trainer/runs.js";
import { firesteel } from "./terminal.js";

/** A config with which a step takes milliseconds. */
async function shortConfig(folder: string, more: object = {}): Promise<string> {
  const path = join(folder, "config.json");
  const settings = {
    system: "grpo",
    warmStart: false,
    promptsPerStep: 4,
    numGenerations: 4,
    minibatchSize: 16,
    evalSamples: 1,
    evalSteps: null,
    ...more,
  };
  await writeFile(path, JSON.stringify(settings));
  return path;
}

describe("train", () => {
  test("--json prints one line a step and a last one, and nothing else", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const out = join(folder, "run");
    const args = ["train", "--config", config, "--steps", "3", "--seed", "5", "--device", "cpu"];
    const { code, out: text, err } = await firesteel([...args, "--out", out, "--json"]);
    expect(err).toBe("");
    expect(code).toBe(0);
    const events = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.map(({ event, step }) => [event, step])).toEqual([
      ["evaluation", 0],
      ["step", 1],
      ["step", 2],
      ["step", 3],
      ["done", undefined],
    ]);
    expect(events[1]).toMatchObject({ kl: null, "eval/accuracy": null });
    expect(typeof events[3]["eval/accuracy"]).toBe("number");
    const done = events.at(-1);
    expect(Object.keys(done)).toEqual([
      "event",
      "steps",
      "seconds",
      "device",
      "metrics",
      "start",
      "best",
      "stoppedBy",
      "out",
    ]);
    expect(done).toMatchObject({ steps: 3, device: "cpu", out });
    expect(done.metrics["eval/accuracy"]).toBe(events[3]["eval/accuracy"]);

    const kept = await readFile(join(out, "metrics.jsonl"), "utf8");
    const steps = events.slice(0, 4).map(({ event: _, ...metrics }) => JSON.stringify(metrics));
    expect(kept.trimEnd().split("\n")).toEqual(steps);
  });

  test("resumed, it ends in the same weights", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")];
    const begin = (out: string, steps: string) =>
      firesteel(["train", "--config", config, "--steps", steps, "--device", "cpu", "--out", out]);
    expect((await begin(whole, "3")).code).toBe(0);
    expect((await begin(parts, "1")).code).toBe(0);
    const resumed = await firesteel(["train", "--resume", parts, "--steps", "3"]);
    expect(resumed).toMatchObject({ code: 0, err: "" });
    // The last step of the first sitting was evaluated: that draws from a stream of its own.
    expect(weightsOf(parts, 3)).toEqual(weightsOf(whole, 3));
  });

  test("ends with a table; the progress line is for terminals alone", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const args = ["train", "--config", config, "--steps", "1", "--device", "cpu"];
    const quiet = await firesteel([...args, "--out", join(folder, "a")]);
    expect(quiet.err).toBe("");
    expect(quiet.out).toMatch(/^accuracy \(held out\) +[\d.]+% -> [\d.]+%$/m);
    expect(quiet.out).toMatch(/^system +grpo on arithmetic: Group Relative Policy Optimization$/m);
    expect(quiet.out).toMatch(/^run +.*\/a$/m);
    const shown = await firesteel([...args, "--out", join(folder, "b")], true);
    expect(shown.err).toMatch(
      /^grpo on arithmetic: .*\nheld out +accuracy [\d.]+%.*\n[\s\S]*training +█+ 1\/1 +reward 0\.\d+ +accuracy [\d.]+% /,
    );
    expect(shown.out).toMatch(/^steps +1$/m);
    expect(shown.out).toMatch(/^report +.*\/b\/report\.html$/m);
    expect(await readdir(join(folder, "b"))).toContain("report.html");
  });

  test("a flow system is trained on its own task, and reports rewards in place of accuracy", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const args = ["train", "--system", "flow-grpo", "--config", config, "--device", "cpu"];
    const { code, out, err } = await firesteel([
      ...args,
      "--steps",
      "1",
      "--out",
      join(folder, "a"),
    ]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(/^proxy \(held out\) +-?\d\.\d{3} -> -?\d\.\d{3}$/m);
    expect(out).toMatch(/^gold \(held out\) +\d\.\d{3} -> \d\.\d{3}$/m);
    expect(out).not.toMatch(/accuracy/);
    const wrong = await firesteel([...args, "--task", "arithmetic", "--out", join(folder, "b")]);
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/over flow for system "flow-grpo" but that of task "arithmetic"/);
  });

  test("--set gives any setting; --settings prints them all, by group", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const out = join(folder, "run");
    const set = ["--set", "evalPassAtK=[1]", "--set", "lrSchedulerType=linear"];
    const args = ["train", "--config", config, "--device", "cpu", ...set];
    const ran = await firesteel([...args, "--steps", "1", "--out", out]);
    expect(ran).toMatchObject({ code: 0, err: "" });
    const text = await readFile(join(out, "system.txt"), "utf8");
    expect(text).toMatch(/^ {2}learning rate\n.*\n {6}lrSchedulerType +"linear" /m);
    expect(text).toMatch(/^ {6}evalPassAtK +\[1\] /m);

    const shown = await firesteel([...args, "--settings"]);
    expect(shown).toMatchObject({ code: 0, err: "" });
    expect(shown.out).toMatch(/^settings \(task arithmetic\)\n {2}run\n {6}seed +0 +decides/);
    expect(shown.out).toMatch(/^ {6}numGenerations +4 +rollouts per prompt$/m);
    const { out: json } = await firesteel([...args, "--settings", "--json"]);
    expect(JSON.parse(json)).toContainEqual({
      ...{ group: "evaluation", name: "evalPassAtK", value: [1], default: [] },
      ...{ description: expect.any(String), idle: null },
    });
    expect(shown.out).toMatch(/^ {6}refModelSyncSteps +512 .* \(idle: syncRefModel is false\)$/m);
  });

  test.each<[string[], RegExp]>([
    [["--set", "evalPassAt=[1]"], /received "evalPassAt" \(did you mean "evalPassAtK"\?\)/],
    [["--set", "steps"], /--set name=value but received "steps"/],
    [["--set", "steps=1", "--set", "steps=2"], /one value for steps but it is given twice/],
    [["--set", "steps=1", "--steps", "2"], /one value for steps but it is given twice/],
    [["--set", "temperature=hot"], /a number > 0 for train\.temperature but received "hot"/],
    [["--force"], /a run to resume/],
  ])("%j is refused with 2", async (args, message) => {
    const { code, err } = await firesteel(["train", ...args]);
    expect(err).toMatch(message);
    expect(code).toBe(2);
  });

  test.each<[string, object, RegExp]>([
    ["an unknown key", { numGeneration: 4 }, /"numGeneration" \(did you mean "numGenerations"\?\)/],
    [
      "a wrong value",
      { temperature: "hot" },
      /a number > 0 for train\.temperature but received "hot"/,
    ],
    ["no system", { system: null }, /for system in .*config\.json but received null/],
  ])("a config with %s is refused with 2", async (_, more, message) => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder, more);
    const { code, err } = await firesteel(["train", "--config", config]);
    expect(err).toMatch(message);
    expect(code).toBe(2);
  });

  test("a folder that cannot be written, or resumed, fails with 1 before any training", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const unwritable = await firesteel(["train", "--config", config, "--out", join(config, "run")]);
    expect(unwritable).toMatchObject({ code: 1, out: "" });
    expect(unwritable.err).toMatch(/^error: Expected a writable folder .*ENOTDIR.*\n$/);
    const missing = await firesteel(["train", "--resume", folder]);
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/^error: Expected a whole checkpoint in .* but there is none\n$/);
  });
});

describe("train --model", () => {
  test("names the teacher of a distillation, and the run's folder says who it was", async () => {
    const folder = await temporaryFolder();
    const config = await shortConfig(folder);
    const first = join(folder, "first");
    const args = ["train", "--config", config, "--steps", "1", "--device", "cpu"];
    expect(await firesteel([...args, "--out", first])).toMatchObject({ code: 0 });
    const teacher = join(first, "checkpoint-1", "policy");
    const out = join(folder, "distilled");
    const distil = [...args, "--system", "opd", "--out", out];
    expect(await firesteel([...distil, "--model", `teacher=${teacher}`])).toMatchObject({
      code: 0,
    });
    const text = await readFile(join(out, "system.txt"), "utf8");
    expect(text).toContain('model teacher: {"from":"given","trained":false}\n');
    expect(text).toContain(`model teacher is ${teacher}\n`);
  });

  test.each([
    [["--model", "teacher"], 'Expected NAME=DIR for --model but received "teacher"'],
    [[], "or --model teacher=DIR) but received none"],
  ])("%j is wrong use", async (flags, message) => {
    const out = join(await temporaryFolder(), "run");
    const { code, err } = await firesteel(["train", "--system", "opd", "--out", out, ...flags]);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});

describe("a config file", () => {
  test.each<[object, RegExp]>([
    [{ stepz: 3 }, /config\.json but received "stepz" \(did you mean "steps"\?\)/],
    [{ steps: "3" }, /an integer >= 0 for train\.steps but received "3"/],
    [{ steps: null }, /an integer >= 0 for train\.steps but received null/],
    [{ onStep: 3 }, /config\.json but received "onStep"/],
    [{ engine: {} }, /config\.json but received "engine"/],
    [{ system: { phases: [] } }, /an id for system in .*config\.json/],
    [{ policy: {} }, /"tiny" or a folder for policy in .*config\.json/],
    [{ task: { train: [], settings: {} } }, /an id or ids with weights for task in/],
    [{ threads: -1 }, /an integer in \[1, 1024\] for threads but received -1/],
    [{ mix: [{ task: "arithmetic", weight: "a" }] }, /a number > 0 for the weight of task/],
    [{ data: { path: "x", evaluation: { share: 2 } } }, /\[0, 1\) for data\.evaluation\.share/],
  ])("%j is wrong use", async (config, message) => {
    const folder = await temporaryFolder();
    const path = join(folder, "config.json");
    await writeFile(path, JSON.stringify(config));
    const { code, err, out } = await firesteel(["train", "--config", path, "--out", folder]);
    expect(err).toMatch(message);
    expect([code, out]).toEqual([2, ""]);
    expect(await readdir(folder)).toEqual(["config.json"]);
  });
});

describe("train --settings", () => {
  test("shows those of the task that the system or the data say", async () => {
    const settingsOf = async (...args: string[]) => {
      const { code, out } = await firesteel(["train", "--settings", "--json", ...args]);
      expect(code).toBe(0);
      return Object.fromEntries(JSON.parse(out).map((s: { name: string }) => [s.name, s]));
    };
    expect((await settingsOf()).promptsPerStep.value).toBe(32);
    const flow = await settingsOf("--system", "flow-grpo");
    expect(flow.bestMetric.default).toBe(tasks.flow2d!.settings.bestMetric);
    const path = join(await temporaryFolder(), "sums.jsonl");
    await writeFile(path, '{"prompt": "1+1=", "label": "2"}\n{"prompt": "1+2=", "label": "3"}\n');
    expect((await settingsOf("--data", path)).maxCompletionLength.value).toBe(256);
    const args = ["train", "--settings", "--system", "spark-balanced", "--set", "minibatchSize=8"];
    expect(await firesteel(args)).toMatchObject({ code: 2, out: "" });
  });
});
