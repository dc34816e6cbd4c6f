import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const runner = join(import.meta.dirname, "run.mjs");

function sanitize(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [runner, ...args], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

// Of the runtime, the emulator and one kernel family; `npm run test:sanitize` is the whole.
it("sanitizers see the faults that are planted for them, and none besides", () => {
  const { status, stdout, stderr } = sanitize("--short", "--json");
  expect(stderr).toBe("");
  const { findings, stages } = JSON.parse(stdout);
  for (const stage of stages) {
    for (const reason of stage.skipped) console.log(`${stage.name} skipped: ${reason}`);
    expect(stage.findings, stage.name).toEqual([]);
  }
  expect({ findings, status }).toEqual({ findings: 0, status: 0 });
}, 600_000);

it("wrong use of the runner is told apart from findings", () => {
  expect(sanitize("--only", "everything").status).toBe(2);
  expect(sanitize("--stress", "0").status).toBe(2);
});
