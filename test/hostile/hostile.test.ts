import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const built = existsSync(join(root, "dist", "index.js"));
const emulated = existsSync(join(root, "out", "Release", "firesteel-emulated.node"));

/** What `npm run test:hostile` shows; failures come with the call that repeats them. */
async function shown(...flags: string[]): Promise<Record<string, unknown>> {
  const args = ["test/hostile/run.mjs", "--json", "--patience", "60", ...flags];
  const how = { cwd: root, maxBuffer: 1 << 26 };
  const run = promisify(execFile)(process.execPath, args, how);
  const { stdout } = await run.catch((error: { stdout: string; stderr: string }) => {
    if (error.stdout === "") throw new Error(error.stderr);
    return error;
  });
  return JSON.parse(stdout) as Record<string, unknown>;
}

describe.skipIf(!built)("calls with what nobody should be given", { timeout: 300_000 }, () => {
  it("give a result or a FiresteelError, whatever is exported, and the engine goes on", async () => {
    const result = await shown("--calls", "20000");
    expect(result).toMatchObject({ crashes: [], hangs: [], failures: [], calls: 20_000 });
    // Both sides of the checks are reached: what is refused, and what runs.
    const outcomes = result.outcomes as Record<string, number>;
    expect(outcomes.ERR_OPTION).toBeGreaterThan(1000);
    expect(outcomes.returned).toBeGreaterThan(1000);
    expect(result.exports).toBeGreaterThan(250);
  });

  it.skipIf(!emulated)("do no more to the CUDA kernels", async () => {
    const result = await shown("--calls", "300", "--device", "emulated", "--children", "1");
    expect(result).toMatchObject({ crashes: [], hangs: [], failures: [], calls: 300 });
  });
});
