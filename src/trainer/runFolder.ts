import { existsSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Metrics } from "../contract/metrics.js";
import { FiresteelError } from "../engine/error.js";
import { replaceFile } from "../files/replaceFile.js";

const metricsFile = "metrics.jsonl";

/**
 * Makes a run's folder and writes what the run is, before anything is computed.
 *
 * @param system the printed system and settings
 * @throws FiresteelError ERR_CHECKPOINT where the folder cannot be written, or holds a run already
 */
export async function createRunFolder(out: string, system: string): Promise<void> {
  const entries = await attempt(out, async () => {
    await makeFolder(resolve(out));
    return readdir(out);
  });
  // A run that was killed before its first checkpoint has left nothing to go on with.
  const begun = async (entry: string) =>
    /^(warm-start|checkpoint)-/.test(entry) ||
    (entry === metricsFile && (await attempt(out, () => stat(join(out, entry)))).size > 0);
  let other: string | undefined;
  for (const entry of entries) if (await begun(entry)) other ??= entry;
  if (other !== undefined) {
    throw new FiresteelError(
      "ERR_CHECKPOINT",
      `Expected a new folder for the run but ${out} holds one already (${other}); resume it or ` +
        "choose another",
    );
  }
  await attempt(out, async () => {
    await writeFile(join(out, "system.txt"), system);
    await writeFile(join(out, metricsFile), "");
  });
}

/** Makes a folder with its parents where it is not there. @throws FiresteelError ERR_CHECKPOINT */
export async function ensureFolder(out: string): Promise<void> {
  await attempt(out, () => makeFolder(resolve(out)));
}

/** With its parents. Node's recursive mkdir never returns where /proc refuses a folder (ENOENT). */
async function makeFolder(path: string): Promise<void> {
  const parent = dirname(path);
  if (parent !== path && !existsSync(parent)) await makeFolder(parent);
  if (!existsSync(path)) await mkdir(path);
}

/** Adds a step's metrics to metrics.jsonl. */
export async function appendMetrics(out: string, step: number, metrics: Metrics): Promise<void> {
  const line = `${JSON.stringify({ step, ...metrics })}\n`;
  await attempt(out, () => appendFile(join(out, metricsFile), line));
}

/**
 * Leaves in metrics.jsonl the lines of a run up to `step`: a resumed run writes later ones again.
 *
 * @param from the run's folder; another one than `out` for a run that branches off
 * @param system as for `createRunFolder`, with what is now different
 */
export async function rewindRunFolder(
  out: string,
  from: string,
  step: number,
  system: string,
): Promise<void> {
  await attempt(out, async () => {
    const path = join(from, metricsFile);
    // A checkpoint that was moved away from its run has no history.
    const text = out === from || existsSync(path) ? await readFile(path, "utf8") : "";
    const kept = text.split("\n").filter((line) => stepOf(line) <= step);
    await replaceFile(join(out, metricsFile), kept.map((line) => `${line}\n`).join(""));
    await replaceFile(join(out, "system.txt"), system);
  });
}

/** A line that a killed process left half-written belongs to no step. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === "number" ? step : Number.POSITIVE_INFINITY;
  } catch (error) {
    if (error instanceof SyntaxError) return Number.POSITIVE_INFINITY;
    throw error;
  }
}

async function attempt<T>(out: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const message = `Expected a writable folder for the run but ${out}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}
