import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { access } from "../files/access.js";
import { eachLine, readLines } from "./jsonl.js";
import { type EmbeddedGroup, embeddedRollouts } from "./rollouts/embed.js";
import { rolloutsFile } from "./rollouts/record.js";
import { rolloutLine } from "./rollouts/rolloutLine.js";
import { type RunDescription, readRunFile, runFile } from "./runFile.js";
import { type Series, seriesOf } from "./series.js";

/** All that a report's page knows. */
export interface RunData {
  /** The folder's last name. */
  name: string;
  /** null: the folder has no readable run.json. */
  run: RunDescription | null;
  /** The printed system and settings. */
  printed: string;
  /** Names of the phases, in order; metrics of the later ones begin with their name. */
  phases: readonly string[];
  /** Steps done. */
  steps: number;
  metrics: Series;
  rollouts: {
    groups: readonly EmbeddedGroup[];
    /** Rollouts in the page, and in rollouts.jsonl. */
    embedded: number;
    recorded: number;
  };
}

/** Step, and metrics by name; a metric that does not exist is null. */
const metricsLine = z.object({ step: z.number() }).catchall(z.number().nullable());

/**
 * What lies in a run's folder, of a run that may still go on.
 *
 * @throws FiresteelError ERR_OPTION where it is no run, or a file is damaged or not to be read
 */
export async function readRunData(directory: string): Promise<RunData> {
  const file = (name: string) => join(directory, name);
  for (const name of ["metrics.jsonl", "system.txt"]) {
    if (existsSync(file(name))) continue;
    const message = `Expected a run's folder for the report but ${show(directory)} has no ${name}`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const input = <T>(name: string, read: () => Promise<T>) =>
    access("a readable file", file(name), read, "ERR_OPTION");
  const printed = await input("system.txt", () => readFile(file("system.txt"), "utf8"));
  const metrics = await seriesOf(() => eachLine(file("metrics.jsonl"), metricsLine));
  const recorded = existsSync(file(rolloutsFile))
    ? await readLines(file(rolloutsFile), rolloutLine)
    : [];
  const run = existsSync(file(runFile)) ? await input(runFile, () => readRunFile(directory)) : null;
  const groups = embeddedRollouts(recorded);
  return {
    name:
      directory
        .split(/[\\/]/)
        .filter((part) => part !== "")
        .at(-1) ?? directory,
    run,
    printed,
    phases: run?.system.phases ?? [...printed.matchAll(/^phase (\S+) /gm)].map(([, name]) => name!),
    steps: metrics.steps.at(-1) ?? 0,
    metrics,
    rollouts: {
      groups,
      embedded: groups.reduce((sum, group) => sum + group.rollouts.length, 0),
      recorded: recorded.length,
    },
  };
}
