import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { train } from "../../src/index.js";
import { temporaryFolder } from "../folders.js";
import { small } from "../trainer/runs.js";
import { firesteel } from "./terminal.js";

async function policyFolder(): Promise<string> {
  const out = join(await temporaryFolder(), "run");
  await train({ ...small, steps: 0, out });
  return join(out, "checkpoint-0", "policy");
}

describe("solve", () => {
  test("prints one line a question, and with --json all that led to it", async () => {
    const folder = await policyFolder();
    const args = ["solve", "--policy", folder, "--device", "cpu"];
    const plain = await firesteel([...args, "0123=", "3210="]);
    expect(plain).toMatchObject({ code: 0, err: "" });
    expect(plain.out).toMatch(/^0123= {2}\S {2}\(1 call\)\n3210= {2}\S {2}\(1 call\)\n$/);

    const file = join(await temporaryFolder(), "questions.jsonl");
    await writeFile(file, '{"question": "0123=", "id": "a"}\n\n{"question": "3210="}\n');
    const json = await firesteel([...args, "--reflect", "2", "--file", file, "--json"]);
    expect(json).toMatchObject({ code: 0, err: "" });
    const lines = json.out
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text));
    expect(lines.map(({ id, question }) => [id, question])).toEqual([
      ["a", "0123="],
      ["3", "3210="],
    ]);
    for (const line of lines) {
      expect(Object.keys(line)).toEqual([
        ...["id", "question", "answer", "accepted", "rounds", "calls", "trace"],
      ]);
      expect(line.trace).toHaveLength(line.calls);
    }
  });

  test("wrong use ends with 2, a policy that cannot be read with 1", async () => {
    const folder = await policyFolder();
    const args = ["solve", "--policy", folder, "--device", "cpu"];
    const file = join(await temporaryFolder(), "questions.jsonl");
    await writeFile(file, '{"question": "0123="}\n{"prompt": "0123="}\n');
    const wrong: [string[], RegExp][] = [
      [args, /^error: Expected questions as arguments or in --file\n$/],
      [[...args, "9="], /^error: prompt "1": Expected symbols/],
      [[...args, "--file", file], /\(id optional\) in .*questions\.jsonl, line 2/],
      [[...args, "--file", file, "0="], /either questions as arguments or --file/],
      [[...args, "--file", join(folder, "none")], /a readable file for --file/],
      [[...args, "--reflect", "two", "0="], /a whole number for --reflect/],
      [["solve", "0="], /required option '--policy <dir>' not specified/],
    ];
    for (const [given, message] of wrong) {
      const { code, out, err } = await firesteel(given);
      expect([code, out], err).toEqual([2, ""]);
      expect(err).toMatch(message);
    }
    const missing = await firesteel(["solve", "--policy", join(folder, "none"), "0123="]);
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/Expected a policy in .* but it does not exist/);
  });
});
