import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

// Runs on dist, as `npm run conformance` does; `npm test` builds it before.
const runner = fileURLToPath(new URL("run.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "firesteel-conformance-"));
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [runner, ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr, last: stdout.trim().split("\n").at(-1)! };
}

function withCases(cases: unknown): string {
  const path = join(folder, "cases.json");
  writeFileSync(path, JSON.stringify(cases));
  return path;
}

describe("conformance", () => {
  it("passes every golden case that comes along", () => {
    const { status, last, stderr } = run("--json");
    expect(stderr).toBe("");
    const cases: unknown[] = JSON.parse(
      readFileSync(new URL("cases.json", import.meta.url), "utf8"),
    );
    expect(JSON.parse(last)).toEqual({ passed: cases.length, failed: 0, missing: 0, failures: [] });
    expect(status).toBe(0);
  });

  it("counts what fails and what has no adapter in a given file", () => {
    const wrong = { case: "kl", n: 0, args: { logp: 0, ref: -1, kind: "k1" }, expect: 2 };
    const right = { ...wrong, n: 1, expect: 1 };
    const unknown = { case: "no_such_mechanism", n: 0, args: {}, expect: 0 };
    const path = withCases([wrong, right, unknown]);
    const { status, last } = run("--json", "--cases", path);
    expect(JSON.parse(last)).toEqual({
      passed: 1,
      failed: 1,
      missing: 1,
      failures: [{ ...wrong, got: 1 }],
    });
    expect(status).toBe(1);
  });

  it("a case that throws has failed", () => {
    const refused = { case: "kl", n: 0, args: { logp: 0, ref: -1, kind: "k9" }, expect: 0 };
    const { failures } = JSON.parse(run("--json", "--cases", withCases([refused])).last);
    expect(failures[0].error).toMatch(/for estimator but received "k9"/);
  });
});
