// Whole runs under limits that grow until they are enough.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, train } from "../../dist/index.js";
import { readCheckpoint } from "../../dist/trainer/checkpoint.js";
import { shortTasks, small } from "./scenarios.mjs";

const needed = /\(limit (\d+), in use (\d+)\) but (\d+) were asked for/;

/**
 * @param growth from one limit to the next
 * @returns how many limits were too small, the first that was enough, and what is wrong
 */
export async function sweep(system, { from = 64 * 1024, growth = 1.5 } = {}) {
  const findings = [];
  const folder = mkdtempSync(join(tmpdir(), "firesteel-limit-"));
  const task = system === "flow-grpo" ? shortTasks.flow : shortTasks.tokens;
  let refused = 0;
  let limit = from;
  try {
    for (; ; limit = Math.ceil(limit * growth)) {
      const out = join(folder, String(limit));
      const engine = new Engine({ device: "cpu", threads: 1, memoryLimit: limit });
      const say = (what) => findings.push(`${system} under ${limit} bytes: ${what}`);
      try {
        await train({ ...small, system, task, engine, out });
        await readCheckpoint(out);
        return { refused, enough: limit, findings };
      } catch (error) {
        refused += 1;
        const [, said, used, asked] = needed.exec(error.message) ?? [];
        if (error.code !== "ERR_OUT_OF_MEMORY") say(`${error.code}: ${error.message}`);
        else if (Number(said) !== limit) say(`the message is: ${error.message}`);
        else if (Number(used) + 2 * Number(asked) < limit) say(`${asked} bytes had room`);
        // A call's workspace is the engine's own.
        engine.tensor([1, 2, 3]).dispose();
        const entries = existsSync(out) ? readdirSync(out) : [];
        const partial = entries.filter((entry) => entry.includes(".partial"));
        if (partial.length > 0) say(`${partial} is left`);
        const checkpoint = entries.some((entry) => /^(warm-start|checkpoint)-/.test(entry));
        if (checkpoint) await readCheckpoint(out).catch((damage) => say(damage.message));
      } finally {
        engine.dispose();
      }
      if (limit > 2 ** 30) throw new Error(`${system} does not fit into ${limit} bytes`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
