import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { type DatasetOptions, tasks, train } from "../../src/index.js";
import { firesteel } from "../cli/terminal.js";
import { temporaryFolder } from "../folders.js";
import { weightsOf } from "../trainer/runs.js";
import { columns, fileOf, jsonl, resumesExactly, short, sums } from "./files.js";

function parquetOf(rows: readonly Record<string, unknown>[]): Uint8Array {
  const names = Object.keys(rows[0]!);
  const columnData = names.map((name) => ({ name, data: rows.map((row) => row[name]) }));
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}

describe("a run on files", () => {
  test("from JSONL goes on bit by bit, the data named by the checkpoint", async () => {
    const path = await fileOf("sums.jsonl", jsonl(sums));
    await resumesExactly({ data: { path, columns, verifier: "numeric" } });
  });

  test("from Parquet goes on bit by bit, and equals that from JSONL", async () => {
    const path = await fileOf("sums.parquet", parquetOf(sums));
    await resumesExactly({ data: { path, columns } });
    const folder = await temporaryFolder();
    const json = await fileOf("sums.jsonl", jsonl(sums));
    const runs = [path, json].map(async (file, i) => {
      await train({ ...short, data: { path: file, columns }, out: join(folder, `${i}`) });
      return weightsOf(join(folder, `${i}`), 4);
    });
    const [first, second] = await Promise.all(runs);
    expect(first).toEqual(second);
  });

  test("from Parquet with dates and 64-bit numbers is recycled by SPARK and goes on bit by bit", async () => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("");
    const rows = [...sums, { question: `${printable}\n`, answer: "1", level: 0 }].map((row, i) => ({
      ...row,
      big: 2n ** 60n + BigInt(i),
      day: new Date(Date.UTC(2024, 0, 1 + i)),
    }));
    const path = await fileOf("sums.parquet", parquetOf(rows));
    const data = { path, columns, evaluation: { share: 0 } };
    const options = { system: "spark", data, promptsPerStep: 3, numGenerations: 2 };
    await resumesExactly({ ...options, onWarning: () => {} });
    const out = join(await temporaryFolder(), "run");
    await train({ ...short, ...options, steps: 1, out, onWarning: () => {} });
    const state = await readFile(join(out, "checkpoint-1", "state.json"), "utf8");
    expect(state).toMatch(/"big":"11529215046068\d+"/);
    expect(state).toMatch(/"day":"2024-\d\d-\d\dT00:00:00.000Z"/);
  });

  test("learns what the file asks", async () => {
    const rows = Array.from({ length: 12 }, (_, i) => ({
      prompt: `${"ab"[i % 2]}${i % 3}`,
      label: "ab"[i % 2],
    }));
    const path = await fileOf("copy.jsonl", jsonl(rows));
    const rewards: number[] = [];
    await train({
      ...short,
      data: { path, evaluation: { share: 0 } },
      steps: 25,
      maxCompletionLength: 2,
      numGenerations: 16,
      minibatchSize: 128,
      learningRate: 5e-3,
      evalSteps: null,
      onStep: ({ step, metrics }) => step > 0 && rewards.push(metrics.reward!),
    });
    expect(rewards[0]).toBeLessThan(0.2);
    expect(rewards.at(-1)).toBeGreaterThan(0.8);
  });

  test("is refused on other questions than those it began with", async () => {
    const path = await fileOf("sums.jsonl", jsonl(sums));
    const out = join(await temporaryFolder(), "run");
    await train({ ...short, data: { path, columns }, steps: 1, out });
    await writeFile(path, jsonl([...sums.slice(0, -1), { question: "9+9=", answer: "18" }]));
    await expect(train({ resume: out, steps: 2 })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringContaining('the questions of task "sums" are others'),
    });
  });

  test("needs a policy of its own where the vocabulary is open", async () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({
      prompt: String.fromCodePoint(0x4e00 + i),
      label: "1",
    }));
    const path = await fileOf("open.jsonl", jsonl(rows));
    await expect(train({ ...short, data: { path } })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /\(--policy DIR\).* no closed alphabet of at most 256 symbols/,
      ),
    });
  });

  test("is refused a task beside it", async () => {
    const data: DatasetOptions = { path: "x" };
    await expect(train({ task: "arithmetic", data })).rejects.toThrow(
      /one of task, data and mix but received task and data/,
    );
  });
});

describe("prompts longer than the context", () => {
  const rows = [
    ...sums,
    { id: "endless", question: "1+".repeat(600), answer: "600" },
    { id: "full", question: "1+".repeat(511), answer: "511" },
  ];

  test("are refused by their ids before anything is written", async () => {
    const path = await fileOf("long.jsonl", jsonl(rows));
    const out = join(await temporaryFolder(), "run");
    const run = train({ ...short, data: { path, columns, evaluation: { share: 0 } }, out });
    await expect(run).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(
        /1 prompts of task "long" fill the context of 1024 tokens: "endless" \(1200\); longPrompts: "drop"/,
      ),
    });
    await expect(readFile(join(out, "system.txt"))).rejects.toThrow("ENOENT");
  });

  test("are left out and counted where the run says so; short rooms are told", async () => {
    const path = await fileOf("long.jsonl", jsonl(rows));
    const warnings: string[] = [];
    const result = await train({
      ...short,
      data: { path, columns, evaluation: { share: 0 } },
      steps: 1,
      longPrompts: "drop",
      onWarning: (warning) => warnings.push(warning),
    });
    expect(result.steps).toBe(1);
    expect(warnings).toEqual([
      expect.stringMatching(/^Left out: 1 prompts .*"endless" \(1200\)$/),
      expect.stringMatching(/^1 prompts of task "long" leave less than maxCompletionLength \(4\)/),
    ]);
  });

  test("are an error where none is left, and symbols that the policy lacks name their prompt", async () => {
    const path = await fileOf("long.jsonl", jsonl([{ prompt: "1".repeat(2000), label: "1" }]));
    await expect(train({ ...short, data: { path }, longPrompts: "drop" })).rejects.toThrow(
      /Expected training prompts in task "long" but none is left/,
    );
    const out = join(await temporaryFolder(), "run");
    await train({ ...short, task: tasks.arithmetic, warmStart: false, steps: 0, out });
    const odd = await fileOf("odd.jsonl", jsonl([{ id: "q", prompt: "7", label: "1" }]));
    const policy = join(out, "checkpoint-0/policy");
    await expect(train({ ...short, policy, data: { path: odd } })).rejects.toThrow(
      /^Expected a policy that can read task ".*" but prompt "q": Expected symbols among .* but received "7" at 0/,
    );
  });
});

describe("firesteel train --data", () => {
  test("trains on a file, and goes on with it", async () => {
    const folder = await temporaryFolder();
    const path = await fileOf("sums.jsonl", jsonl(sums));
    const config = await fileOf(
      "config.json",
      JSON.stringify({
        promptsPerStep: 4,
        numGenerations: 4,
        maxCompletionLength: 4,
        evalSamples: 1,
      }),
    );
    const args = [
      "train",
      "--data",
      path,
      "--columns",
      "prompt=question,label=answer",
      "--verifier",
      "numeric",
      "--device",
      "cpu",
    ];
    const out = join(folder, "run");
    const begun = await firesteel([
      ...args,
      "--eval-data",
      await fileOf("held.jsonl", jsonl(sums.slice(0, 4))),
      "--config",
      config,
      "--steps",
      "1",
      "--out",
      out,
    ]);
    expect(begun).toMatchObject({ code: 0, err: "" });
    const resumed = await firesteel(["train", "--resume", out, "--steps", "2", "--json"]);
    expect(resumed).toMatchObject({ code: 0, err: "" });
    expect(resumed.out).toContain('"event":"done","steps":2');
  });

  test.each<[string, string[], RegExp]>([
    [
      "columns that are no map",
      ["--data", "x", "--columns", "question"],
      /prompt=NAME,label=NAME,id=NAME for --columns/,
    ],
    ["flags without data", ["--verifier", "math"], /Expected --data FILE beside --verifier/],
    ["a missing file", ["--data", "/nowhere.jsonl"], /readable file but \/nowhere\.jsonl: ENOENT/],
    ["an unknown verifier", ["--data", "x", "--verifier", "maths"], /did you mean "math"\?/],
    ["a task beside it", ["--data", "x", "--task", "arithmetic"], /one of task, data and mix/],
  ])("refuses %s with 2", async (_, args, message) => {
    const { code, err } = await firesteel(["train", ...args]);
    expect(err).toMatch(message);
    expect(code).toBe(2);
  });
});
