import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { firesteel } from "./terminal.js";

const example = fileURLToPath(new URL("../../examples/rollouts.jsonl", import.meta.url));
let folder: string;
let broken: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "firesteel-score-"));
  broken = join(folder, "broken.jsonl");
  writeFileSync(broken, '{"group": 1, "reward": 1, "logProbs": [-1], "oldLogProbs": [-1]}\n{\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

test("--json prints one line a rollout, with gradients when asked for", async () => {
  const { code, out } = await firesteel(["score", example, "--system", "grpo", "--json"]);
  expect(code).toBe(0);
  const rows = out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows).toHaveLength(12);
  expect(rows[0]).toMatchObject({ line: 1, id: "0-0", group: 0, dropped: false });
  expect(rows[0]).not.toHaveProperty("dLogProb");
  const sum = rows.reduce((total, { loss }) => total + loss, 0);
  const summary = await firesteel(["score", example, "--system", "grpo"]);
  expect(summary.out).toMatch(/rollouts +12 in 3 groups\n/);
  expect(Number(/^loss +(\S+)$/m.exec(summary.out)![1])).toBeCloseTo(sum, 5);
  const graded = await firesteel(["score", example, "--system", "grpo", "--json", "--gradients"]);
  expect(JSON.parse(graded.out.split("\n")[0]!).dLogProb).toHaveLength(4);
});

test("bad lines end with 1 and their numbers, unless skipped", async () => {
  const strict = await firesteel(["score", broken, "--system", "grpo", "--json"]);
  expect(strict).toMatchObject({ code: 1, out: "" });
  expect(strict.err).toMatch(/^error: .*broken.jsonl: 1 unusable line\nline 2: Expected JSON but /);
  const lenient = await firesteel(["score", broken, "--system", "grpo", "--json", "--skip-bad"]);
  expect(lenient.code).toBe(0);
  expect(lenient.out.trimEnd().split("\n")).toHaveLength(1);
  expect(lenient.err).toMatch(/^skipped line 2: /m);
});

test.each<[string, string[], RegExp]>([
  ["no system", [example], /required option '--system <id>'/],
  ["no such system", [example, "--system", "gpro"], /did you mean "grpo"/],
  ["no such file", ["none.jsonl", "--system", "grpo"], /Expected a readable file but none.jsonl/],
  ["gradients without --json", [example, "--system", "grpo", "--gradients"], /--json/],
])("%s ends with 2", async (_, args, message) => {
  const { code, err } = await firesteel(["score", ...args]);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
