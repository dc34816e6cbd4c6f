import { appendFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readPageSources } from "../../src/report/pageSources.js";
import { writeReport } from "../../src/report/report.js";
import { readRunData } from "../../src/report/runData.js";
import { seriesOf } from "../../src/report/series.js";
import { type TrainOptions, train } from "../../src/train.js";
import { firesteel } from "../cli/terminal.js";
import { temporaryFolder } from "../folders.js";
import { twoPhaseRun } from "./twoPhases.js";

async function runOf(options: Partial<TrainOptions> = {}): Promise<string> {
  const out = join(await temporaryFolder(), "run");
  await train({ ...twoPhaseRun, out, ...options });
  return out;
}

describe("firesteel report", () => {
  test("makes one page that names no other file, and says what is in it", async () => {
    const out = await runOf();
    const { code, out: text } = await firesteel(["report", out, "--json"]);
    expect(code).toBe(0);
    const page = await readFile(join(out, "report.html"), "utf8");
    expect(JSON.parse(text)).toEqual({
      ...{ file: join(out, "report.html"), bytes: Buffer.byteLength(page) },
      ...{ steps: 4, rollouts: 4 * 2 * 2 * 4, recorded: 4 * 2 * 2 * 4 },
    });
    expect(page).not.toMatch(/\b(src|href)="(?!#)|@import|url\(/);
    expect(await readdir(out)).not.toContain("report.html.partial");
  });

  test("puts it where it is asked to, and prints where that is", async () => {
    const out = await runOf({ steps: 1 });
    const file = join(out, "..", "elsewhere.html");
    expect(await firesteel(["report", out, "--out", file])).toMatchObject({
      ...{ code: 0, out: `${file}\n`, err: "" },
    });
    expect(await readFile(file, "utf8")).toMatch(/^<!doctype html>/);
    const nowhere = await firesteel(["report", out, "--out", join(out, "no", "page.html")]);
    expect(nowhere).toMatchObject({ code: 2, out: "" });
    expect(nowhere.err).toMatch(
      /Expected a writable file for the report but .*its folder does not exist/,
    );
  });

  test("refuses what is no run, and a damaged one, with 2", async () => {
    const folder = await temporaryFolder();
    const refused = await firesteel(["report", folder]);
    expect(refused).toMatchObject({ code: 2, out: "" });
    expect(refused.err).toMatch(/^error: Expected a run's folder .* has no metrics\.jsonl\n$/);
    expect((await firesteel(["report", join(folder, "nowhere")])).code).toBe(2);
    await writeFile(join(folder, "metrics.jsonl"), '{"step":0}\nno JSON\n{"step":1}\n');
    await writeFile(join(folder, "system.txt"), "a system\n");
    const damaged = await firesteel(["report", folder]);
    expect(damaged.err).toMatch(/Expected a JSON object in line 2 of .*metrics\.jsonl/);
    expect(damaged.code).toBe(2);
  });

  test.each([
    ["metrics.jsonl", /"step":(\d)/, '"stEp":$1', /line 1 of .*metrics\.jsonl but step is wrong/],
    ["rollouts.jsonl", /"mask"/, '"Mask"', /line 1 of .*rollouts\.jsonl but mask is wrong/],
  ])("refuses a line of %s with a letter changed, by its field", async (name, from, to, reason) => {
    const out = await runOf({ steps: 1, recordRollouts: 1 });
    const path = join(out, name);
    await writeFile(path, (await readFile(path, "utf8")).replace(from, to));
    await expect(writeReport(out)).rejects.toThrow(reason);
  });

  test("takes a run.json with a letter changed for none", async () => {
    const out = await runOf({ steps: 1 });
    const path = join(out, "run.json");
    await writeFile(path, (await readFile(path, "utf8")).replace('"system"', '"System"'));
    expect((await readRunData(out)).run).toBeNull();
  });

  test("is made of a run that still goes on, of one before its first step, of one without a record", async () => {
    const out = await runOf({ recordRollouts: 0 });
    await appendFile(join(out, "metrics.jsonl"), '{"step":5,"rew');
    expect(await writeReport(out)).toMatchObject({ steps: 4, rollouts: 0, recorded: 0 });
    await rm(join(out, "run.json"));
    const { run, phases } = await readRunData(out);
    expect({ run, phases }).toEqual({ run: null, phases: ["policy", "recycled"] });
    const fresh = join(out, "fresh");
    await mkdir(fresh);
    await writeFile(join(fresh, "metrics.jsonl"), "");
    await writeFile(join(fresh, "system.txt"), "a system\n");
    expect(await writeReport(fresh)).toMatchObject({ steps: 0 });
  });
});

test("a run writes its page at its end where it is asked to", async () => {
  expect(await readdir(await runOf({ steps: 1, report: true }))).toContain("report.html");
  expect(await readdir(await runOf({ steps: 1 }))).not.toContain("report.html");
});

test("run.json tells the sittings of a run, and what ended them", async () => {
  const out = join(await temporaryFolder(), "run");
  const failing = train({
    ...{ ...twoPhaseRun, out },
    callbacks: [{ phase: ({ step }) => step === 3 && Promise.reject(new Error("out of luck")) }],
  });
  await expect(failing).rejects.toThrow("out of luck");
  const { system, task } = twoPhaseRun;
  await train({ resume: out, system, task });
  const { run } = await readRunData(out);
  expect(run).toMatchObject({
    system: { id: "two-phases", phases: ["policy", "recycled"] },
    ...{ task: { id: "arithmetic" }, device: "cpu", settings: { seed: 7, steps: 4 } },
  });
  expect(run!.sittings.map(({ from, to, error }) => [from, to, error])).toEqual([
    [-1, 2, "out of luck"],
    [2, 4, null],
  ]);
  for (const { seconds } of run!.sittings) expect(seconds).toBeGreaterThan(0);
});

test("metrics are columns; of long runs, means over as many steps as it takes", async () => {
  const lines = Array.from({ length: 1201 }, (_, step) => ({
    ...{ step, reward: step, kl: null },
    "eval/accuracy": step % 3 === 0 ? 0.5 : null,
  }));
  const { every, steps, values, ends } = await seriesOf(() => lines);
  expect(every).toBe(3);
  expect(steps.slice(0, 3)).toEqual([0, 3, 6]);
  expect(steps.at(-1)).toBe(1200);
  expect(values.reward!.slice(0, 3)).toEqual([0, 2, 5]);
  expect(values["eval/accuracy"]!.every((value) => value === 0.5)).toBe(true);
  expect(ends).toEqual({ reward: [0, 1200], "eval/accuracy": [0.5, 0.5] });
  expect(Object.keys(values)).toEqual(["reward", "eval/accuracy"]);
  expect(await seriesOf(() => [])).toEqual({ every: 1, steps: [], values: {}, ends: {} });
});

test.each<[string, TrainOptions, RegExp]>([
  ["a record without a folder", { recordRollouts: 3 }, /the run has no out\) for recordRollouts/],
  ["TensorBoard without a folder", { tensorboard: true }, /the run has no out\) for tensorboard/],
  ["a page without a folder", { report: true }, /the run has no out\) for report/],
  ["a number of groups that is none", { out: "x", recordRollouts: 1.5 }, /recordRollouts/],
  [
    "steps between nothing",
    { out: "x", recordRollouts: 0, recordEvery: 2 },
    /no rollouts are recorded\) for recordEvery/,
  ],
])("%s is refused before any work", async (_, options, message) => {
  await expect(train(options)).rejects.toThrow(message);
});

test("the package ships what its page is put together from", async () => {
  const { files } = JSON.parse(await readFile("package.json", "utf8")) as { files: string[] };
  expect(files).toContain("src/report/page");
});

test("the page's own sources end no script and no style", async () => {
  const { scripts, styles } = await readPageSources();
  expect([...scripts, ...styles].filter((text) => /<\/(script|style)|<!--/i.test(text))).toEqual(
    [],
  );
});
