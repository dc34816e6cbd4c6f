import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const require = createRequire(import.meta.url);
const script = fileURLToPath(new URL("../../bench/binding_overhead/run.mjs", import.meta.url));
const installed = () => {
  try {
    return require.resolve("nan") !== "";
  } catch {
    return false;
  }
};

// Ratios are for a quiet machine; here it is that the binding builds and gives the same bits.
it.skipIf(!installed())(
  "one kernel through NAN gives what the addon gives",
  { timeout: 120_000 },
  () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, "--json", "--quick"], {
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const results = JSON.parse(stdout) as { name: string; us: { ours: number; nan: number } }[];
    expect(results.map(({ name }) => name)).toEqual(["nothing", "group_norm 64 x 16"]);
    for (const { us } of results) expect(Math.min(us.ours, us.nan)).toBeGreaterThan(0);
  },
);
