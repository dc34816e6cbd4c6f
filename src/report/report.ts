import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { aPath, checkArguments, optional } from "../engine/arguments.js";
import { FiresteelError } from "../engine/error.js";
import { replaceFile } from "../files/replaceFile.js";
import { readPageSources } from "./pageSources.js";
import { renderPage } from "./renderPage.js";
import { readRunData } from "./runData.js";

/** In a run's folder. */
export const reportFile = "report.html";

/** A page that was written, and what is in it. */
export interface WrittenReport {
  /** Path of the page. */
  file: string;
  /** Size of the page. */
  bytes: number;
  /** Steps of the run. */
  steps: number;
  /** Rollouts that can be read in the page, and those in rollouts.jsonl. */
  rollouts: number;
  recorded: number;
}

/**
 * Makes one offline page of a run: charts of its metrics, what ran, and the recorded rollouts with
 * their advantages by token. What `firesteel report` calls; the run may still be going on.
 *
 * @param directory a run's folder
 * @param file where the page goes; default report.html in the folder
 * @throws FiresteelError ERR_OPTION where the folder holds no run, a file of it is damaged, or the page's
 *   folder does not exist; ERR_CHECKPOINT where the page cannot be written
 * @example
 * const { file } = await writeReport("runs/grpo-arithmetic-seed0");
 */
export async function writeReport(directory: string, file?: string): Promise<WrittenReport> {
  checkArguments({ directory, file }, { directory: aPath, file: optional(aPath) });
  const target = file ?? join(directory, reportFile);
  if (!existsSync(dirname(target))) {
    const message = `Expected a writable file for the report but ${target}: its folder does not exist`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const data = await readRunData(directory);
  const page = renderPage(data, await readPageSources());
  await replaceFile(target, page);
  const { embedded, recorded } = data.rollouts;
  const bytes = Buffer.byteLength(page);
  return { file: target, bytes, steps: data.steps, rollouts: embedded, recorded };
}
