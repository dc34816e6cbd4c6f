import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

export const dist = pathToFileURL(join(import.meta.dirname, "..", "..", "dist")).href;

/** Of the engine alone: the whole package takes most of a second to load. */
export const imports = `
  import { Engine } from ${JSON.stringify(`${dist}/engine/engine.js`)};
  import { logProb } from ${JSON.stringify(`${dist}/engine/kernels/logProb.js`)};`;

/** Enough work to be in flight for a good while: 64 rows of a large vocabulary, many times. */
export const busy = `
const engine = new Engine({ device: "cpu" });
const logits = engine.zeros([64, 150000]);
for (let i = 0; i < 100; ++i) logProb(engine, logits, new Int32Array(64));`;

/** Runs a module in a process of its own against the built package. */
export function run(source: string, ...flags: string[]) {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, "--input-type=module", "-e", `${imports}\n${source}`],
    { encoding: "utf8", timeout: 170_000 },
  );
  return { status, signal, stdout: stdout.trim(), stderr };
}
