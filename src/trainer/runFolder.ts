import { existsSync } from "node:fs";
import { appendFile, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Metrics } from "../contract/metrics.js";
import { FiresteelError } from "../engine/error.js";
import { access } from "../files/access.js";
import { checkpointsByAge } from "../files/checkpointNames.js";
import { fileLines } from "../files/fileLines.js";
import { makeFolder } from "../files/makeFolder.js";
import { replaceFile } from "../files/replaceFile.js";
import { sync } from "../files/synced.js";

const metricsFile = "metrics.jsonl";

/** Makes a folder with its parents where it is not there. @throws FiresteelError ERR_CHECKPOINT */
export async function ensureFolder(out: string): Promise<void> {
  await access("a writable folder for the run", out, () => makeFolder(resolve(out)));
}

/**
 * Writes what a run is into its folder, before anything is computed.
 *
 * @param system the printed system and settings
 * @throws FiresteelError ERR_CHECKPOINT where the folder cannot be written, or holds a run already
 */
export async function beginRunFolder(out: string, system: string): Promise<void> {
  const other = await access("a readable folder for the run", out, () => earlierRun(out));
  if (other !== null) {
    throw new FiresteelError(
      "ERR_CHECKPOINT",
      `Expected a new folder for the run but ${out} holds one already (${other})`,
    );
  }
  await replaceFile(join(out, "system.txt"), system);
  await replaceFile(join(out, metricsFile), "");
}

/** What a run has left that must not be lost; null: nothing, or no more than a kill before its first checkpoint. */
async function earlierRun(out: string): Promise<string | null> {
  const entries = await readdir(out);
  const newest = checkpointsByAge(entries).at(-1);
  if (newest !== undefined) return `${newest}; resume it or choose another`;
  if (!entries.includes(metricsFile)) return null;
  // The first checkpoint comes before the first step.
  let steps = 0;
  for await (const { text } of fileLines(join(out, metricsFile))) {
    if (stepOf(text) > 0 && stepOf(text) < Number.POSITIVE_INFINITY) steps += 1;
  }
  if (steps === 0) return null;
  return `${metricsFile} with ${steps} steps, but no checkpoint; choose another, or remove it`;
}

/** Adds a step's metrics to metrics.jsonl. */
export async function appendMetrics(out: string, step: number, metrics: Metrics): Promise<void> {
  const line = `${JSON.stringify({ step, ...metrics })}\n`;
  const path = join(out, metricsFile);
  await access("a writable file", path, () => appendFile(path, line));
}

/** Brings metrics.jsonl to the disk: a checkpoint must not outlast what led to it. */
export async function syncMetrics(out: string): Promise<void> {
  const path = join(out, metricsFile);
  await access("a writable file", path, () => sync(path));
}

/**
 * Leaves in metrics.jsonl the lines of a run up to `step`: a resumed run writes later ones again.
 *
 * @param from the run's folder; another one than `out` for a run that branches off
 * @param system as for `beginRunFolder`, with what is now different
 */
export async function rewindRunFolder(
  out: string,
  from: string,
  step: number,
  system: string,
): Promise<void> {
  const path = join(from, metricsFile);
  // A checkpoint that was moved away from its run has no history.
  const lines = out === from || existsSync(path) ? linesUpTo(path, step) : [];
  await replaceFile(join(out, metricsFile), lines);
  await replaceFile(join(out, "system.txt"), system);
}

async function* linesUpTo(path: string, step: number): AsyncGenerator<string> {
  for await (const { text } of fileLines(path)) if (stepOf(text) <= step) yield `${text}\n`;
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
