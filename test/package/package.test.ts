import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const run = join(import.meta.dirname, "run.mjs");
const built = ["out/Release/firesteel.node", "dist/cli/main.js"].every((name) =>
  existsSync(join(root, name)),
);

interface Outcome {
  name: string;
  result: "held" | "failed" | "skipped";
  detail: string;
}

test.runIf(built)(
  "packed and installed without scripts, it works from everywhere and explains what is wrong",
  () => {
    const { stdout, stderr } = spawnSync(process.execPath, [run, "--short", "--json"], {
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    expect(stdout, stderr).not.toBe("");
    const { outcomes } = JSON.parse(stdout) as { outcomes: Outcome[] };
    for (const { name, detail } of outcomes.filter(({ result }) => result === "skipped")) {
      console.log(`package: ${name}: skipped (${detail})`);
    }
    expect(outcomes.filter(({ result }) => result === "failed")).toEqual([]);
    expect(outcomes.filter(({ result }) => result === "held").length).toBeGreaterThan(20);
  },
  600_000,
);

test("refuses flags that it does not know", () => {
  expect(spawnSync(process.execPath, [run, "--shrt"]).status).toBe(2);
});
