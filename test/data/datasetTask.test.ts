import { readFileSync, writeFileSync } from "node:fs";
import { ByteWriter, parquetWrite } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import type { RewardContext, Task } from "../../src/contract/index.js";
import { type DatasetOptions, datasetTask } from "../../src/index.js";
import { columns, fileOf, jsonl, sums } from "./files.js";

async function refused(options: DatasetOptions | object, message: RegExp | string): Promise<void> {
  await expect(datasetTask(options as DatasetOptions)).rejects.toMatchObject({
    code: "ERR_OPTION",
    message: typeof message === "string" ? message : expect.stringMatching(message),
  });
}

async function rewardOf(task: Task, completions: readonly string[]): Promise<unknown> {
  const prompts = task.train
    .slice(0, completions.length)
    .map((question) => ({ ...question, tokens: new Int32Array() }));
  const { signal } = new AbortController();
  const ctx: RewardContext = { prompts, completions, trajectories: [], columns: {}, signal };
  return task.rewards.correct!(ctx);
}

/** The same rows as Parquet, seven in a group. */
function parquetOf(path: string, rows: readonly Record<string, unknown>[], codec?: "UNCOMPRESSED") {
  const writer = new ByteWriter();
  const names = Object.keys(rows[0]!);
  parquetWrite({
    writer,
    columnData: names.map((name) => ({ name, data: rows.map((row) => row[name]) })),
    rowGroupSize: 7,
    ...(codec === undefined ? {} : { codec }),
  });
  writeFileSync(path, new Uint8Array(writer.getBuffer()));
  return path;
}

/** Bytes of a Parquet file's last part, which says what the others are. */
function footerOf(bytes: Buffer): number {
  return bytes.readUInt32LE(bytes.length - 8) + 8;
}

describe("a task made of a file", () => {
  test("of a Parquet file with a damaged column and schema is refused, and the process goes on", async () => {
    const path = parquetOf(await fileOf("sums.parquet", ""), sums, "UNCOMPRESSED");
    const bytes = readFileSync(path);
    // The first page's header, and the name of a later column where the schema has it.
    bytes.fill(0xff, 4, 16);
    bytes.write("lexel", bytes.indexOf("level", bytes.length - footerOf(bytes)));
    writeFileSync(path, bytes);
    await refused({ path, columns }, /column .*level.* is not once in its schema/);
    // A rejection that nobody hears of would fail this test run.
    await new Promise(setImmediate);
  });

  test("has its questions, labels, further columns, and a tenth held out", async () => {
    const path = await fileOf("sums.jsonl", jsonl(sums));
    const task = await datasetTask({ path, columns });
    expect(task).toMatchObject({ id: "sums", kind: "tokens", accuracy: "correct" });
    expect(task.train).toHaveLength(36);
    expect(task.evaluation).toHaveLength(4);
    const all = [...task.train, ...task.evaluation];
    expect(new Set(all.map(({ id }) => id)).size).toBe(40);
    expect(all.find(({ id }) => id === "sums/12")).toEqual({
      id: "sums/12",
      messages: [{ role: "user", content: "3+1=" }],
      label: "4",
      columns: { level: 3 },
    });
    expect(task.alphabet).toBe("+0123456789=");
    const labels = task.train.slice(0, 2).map(({ label }) => String(label));
    expect(await rewardOf(task, [labels[0]!, `${labels[1]}0`])).toEqual([1, 0]);
  });

  test("is the same from Parquet, and from several files", async () => {
    const path = await fileOf("sums.jsonl", jsonl(sums));
    const expected = await datasetTask({ path, columns });
    for (const codec of [undefined, "UNCOMPRESSED"] as const) {
      const parquet = parquetOf(path.replace("jsonl", "parquet"), sums, codec);
      expect(await datasetTask({ path: parquet, columns })).toMatchObject({
        train: expected.train,
        evaluation: expected.evaluation,
        fingerprint: expected.fingerprint,
      });
    }
    const [a, b] = [sums.slice(0, 10), sums.slice(10)].map((rows, i) =>
      fileOf(`part${i}.jsonl`, `\n${jsonl(rows)}\n\n`),
    );
    const parts = await datasetTask({
      path: [await a!, await b!],
      columns,
      evaluation: { share: 0 },
    });
    expect(parts.train.map(({ label }) => label)).toEqual(sums.map(({ answer }) => answer));
    expect(parts.evaluation).toEqual([]);
  });

  test("holds out the same questions whatever their order, or those of a file", async () => {
    const rows = sums.map((row, i) => ({ ...row, id: `q${i}` }));
    const held = async (order: readonly object[]) => {
      const path = await fileOf("sums.jsonl", jsonl(order));
      const task = await datasetTask({ path, columns, evaluation: { share: 0.25 } });
      return task.evaluation.map(({ id }) => id).sort();
    };
    const chosen = await held(rows);
    expect(chosen).toHaveLength(10);
    expect(await held([...rows].reverse())).toEqual(chosen);
    const train = await fileOf("train.jsonl", jsonl(rows.slice(0, 30)));
    const test = await fileOf("test.jsonl", jsonl(rows.slice(30)));
    const task = await datasetTask({ path: train, columns, evaluation: { path: test } });
    expect([task.train.length, task.evaluation.length]).toEqual([30, 10]);
  });

  test("reads chat messages, whole numbers of 64 bits, and answers within labels", async () => {
    const chat = [
      { role: "system", content: "Add." },
      { role: "user", content: "1+1=" },
    ];
    const path = await fileOf("chat.jsonl", jsonl([{ prompt: chat, label: "1+1\n#### 2", id: 7 }]));
    const task = await datasetTask({ path, labelAnswer: "after-hashes", answer: "last-boxed" });
    expect(task.train).toEqual([{ id: "7", messages: chat, label: "2", columns: {} }]);
    expect(task.alphabet).toBe("+.12=A\\bdeox{}");
    const rows = [
      { prompt: "a", label: 9007199254740991n, when: new Date(0) },
      { prompt: "b", label: 9007199254740993n, when: new Date(0) },
    ];
    const parquet = parquetOf(path.replace("jsonl", "parquet"), rows);
    const wide = await datasetTask({
      path: parquet,
      verifier: "numeric",
      evaluation: { share: 0 },
    });
    expect(wide.train.map(({ label }) => label)).toEqual([9007199254740991, "9007199254740993"]);
    expect(wide.train[0]!.columns).toEqual({ when: "1970-01-01T00:00:00.000Z" });
  });

  test("has no alphabet where the file has more than 256 symbols", async () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({
      prompt: String.fromCodePoint(0x4e00 + i),
      label: "1",
    }));
    const path = await fileOf("open.jsonl", jsonl(rows));
    expect((await datasetTask({ path })).alphabet).toBeNull();
  });
});

describe("data that cannot be used is refused with its place", () => {
  const good = jsonl([{ prompt: "a", label: "b" }]);

  test.each<[string, string, RegExp]>([
    ["no rows", "\n\n", /Expected rows in .*data\.jsonl but there are none/],
    ["no JSON", `${good}{"prompt": \n`, /1 of 2 rows .*: line 2: Expected JSON but /],
    ["no object", `${good}\n[1]\n`, /line 3: Expected an object but received an array of 1/],
    [
      "no text",
      jsonl([{ prompt: 7, label: "b" }]),
      /line 1: Expected a text or chat messages for prompt but received 7/,
    ],
    [
      "an empty prompt",
      jsonl([{ prompt: "", label: "b" }]),
      /Expected a text for prompt but it is empty/,
    ],
    [
      "no messages",
      jsonl([{ prompt: [], label: "b" }]),
      /Expected messages for prompt but there are none/,
    ],
    [
      "a wrong role",
      jsonl([{ prompt: [{ role: "bot", content: "x" }], label: "b" }]),
      /for prompt\[0\]\.role but received "bot"/,
    ],
    [
      "content that is no text",
      jsonl([{ prompt: [{ role: "user", content: null }], label: "b" }]),
      /Expected a text for prompt\[0\]\.content but received null/,
    ],
    [
      "half a character",
      '{"prompt": "\\ud83d", "label": "b"}\n',
      /whole Unicode characters for prompt/,
    ],
    [
      "no label",
      jsonl([{ prompt: "a", label: null }]),
      /Expected a label for label but received null/,
    ],
    [
      "a wrong label",
      jsonl([{ prompt: "a", label: [1] }]),
      /Expected a text or a number for label/,
    ],
    [
      "a wrong id",
      jsonl([{ prompt: "a", label: "b", id: 1.5 }]),
      /Expected a text or a whole number for id but received 1\.5/,
    ],
    [
      "an id that comes twice",
      jsonl([
        { prompt: "a", label: "b", id: 1 },
        { prompt: "a", label: "b", id: "1" },
      ]),
      /line 2: Expected an id of its own but "1" is that of .*data\.jsonl line 1/,
    ],
    [
      "a missing column",
      jsonl([{ question: "a", lable: "b" }]),
      /Expected a column "prompt" in .* but it has "question", "lable"; columns: \{ prompt: \.\.\. \}/,
    ],
    [
      "a misspelt column",
      jsonl([{ prompt: "a", lable: "b" }]),
      /Expected a column "label" in .* but it has "prompt", "lable" \(did you mean "lable"\?\)/,
    ],
    [
      "damaged Parquet",
      "PAR1 and nothing else",
      /Expected a readable Parquet file but .*data\.jsonl/,
    ],
  ])("%s", async (_, text, message) => {
    await refused({ path: await fileOf("data.jsonl", text) }, message);
  });

  test("five bad rows are listed, the others counted", async () => {
    const path = await fileOf("bad.jsonl", good + "{}\n".repeat(12));
    const list = Array.from({ length: 5 }, (_, i) => `line ${i + 2}: Expected a text`).join(".*");
    await refused({ path }, new RegExp(`^12 of 13 rows of .*: ${list}.*; and 7 more$`));
  });

  test("ids are unique over all files, held-out ones too", async () => {
    const one = await fileOf("a.jsonl", jsonl([{ prompt: "a", label: "b", id: 1 }]));
    const two = await fileOf("b.jsonl", jsonl([{ prompt: "a", label: "b", id: 1 }]));
    await refused({ path: [one, two] }, /"1" is that of .*a\.jsonl line 1/);
    await refused({ path: one, evaluation: { path: two } }, /"1" is that of .*a\.jsonl line 1/);
  });

  test("a file that is not there, and a folder", async () => {
    await refused(
      { path: "/nowhere.jsonl" },
      /Expected a readable file but \/nowhere\.jsonl: ENOENT/,
    );
    await refused({ path: "/tmp" }, /Expected a readable file but \/tmp: EISDIR/);
  });

  test.each<[string, object, RegExp]>([
    ["no path", {}, /a file or several for data\.path but received undefined/],
    ["no paths", { path: [] }, /a file or several for data\.path/],
    [
      "an unknown option",
      { path: "x", colums: {} },
      /received "colums" \(did you mean "columns"\?\)/,
    ],
    [
      "an unknown role",
      { path: "x", columns: { promt: "a" } },
      /received "promt" \(did you mean "prompt"\?\)/,
    ],
    [
      "a column without a name",
      { path: "x", columns: { prompt: "" } },
      /a column's name for data\.columns\.prompt/,
    ],
    [
      "two evaluations",
      { path: "x", evaluation: { path: "y", share: 0.1 } },
      /either path or share/,
    ],
    [
      "an unknown verifier",
      { path: "x", verifier: "maths" },
      /received "maths" \(did you mean "math"\?\)/,
    ],
    [
      "an unknown setting",
      { path: "x", settings: { step: 1 } },
      /received "step" \(did you mean "steps"\?\)/,
    ],
  ])("%s", async (_, options, message) => {
    await refused(options, message);
  });

  test("a share out of range", async () => {
    await expect(datasetTask({ path: "x", evaluation: { share: 1 } })).rejects.toMatchObject({
      code: "ERR_OPTION",
    });
  });
});
