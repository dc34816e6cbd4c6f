import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { groupNormalize } from "../blocks/advantage/groupNormalize.js";
import { surrogate } from "../blocks/loss/surrogate.js";
import type { StepReport, WarmStartReport } from "../contract/run.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { replaceFile } from "../files/replaceFile.js";
import { defineSystem } from "../systems/defineSystem.js";
import { train } from "../train.js";
import { readCheckpoint } from "../trainer/checkpoint.js";
import { printSystem } from "../trainer/printSystem.js";
import { ensureFolder } from "../trainer/runFolder.js";
import { type TrainSettings, trainSettings } from "../trainer/settings.js";
import { version } from "../version.js";
import type { ArmRun } from "./claim.js";

/** One run to be done: what decides its result, and who looks on. */
export interface RunJob {
  readonly engine: Engine;
  readonly task: Task;
  readonly system: System;
  readonly settings: Partial<TrainSettings>;
  readonly seed: number;
  /** Holds warm starts and finished runs, each under a name that everything it depends on goes into. */
  readonly folder: string;
  readonly signal?: AbortSignal;
  readonly onStep?: (report: StepReport) => void;
  readonly onWarmStart?: (report: WarmStartReport) => void;
}

/** A name for everything that a result depends on. */
function fingerprint({ engine, task, seed }: RunJob, ...rest: readonly unknown[]): string {
  const parts = JSON.stringify([version, engine.device, task.id, task.policy, seed, ...rest]);
  return createHash("sha256").update(parts).digest("hex").slice(0, 16);
}

/** Every setting of a job with its value. */
function settled({ task, settings, seed }: RunJob, more: Partial<TrainSettings>): TrainSettings {
  return trainSettings(task, { ...settings, ...more, seed });
}

/** A system of which no step is taken: what a warm start leads to is the task's alone. */
function untrained({ id, kind }: Task): System {
  return defineSystem({
    ...{ id: "warm-start", title: "Warm start alone", arxiv: null, evidence: "high" },
    ...{ policy: kind, task: id },
    advantage: groupNormalize(),
    loss: [surrogate()],
  });
}

/**
 * The folder of a policy after the task's warm start: the same for every system that begins from it.
 *
 * @throws FiresteelError ERR_ABORTED after the signal, and as `train`
 */
async function warmPolicy(job: RunJob): Promise<string> {
  const { engine, task, seed, folder, signal, onWarmStart } = job;
  const system = untrained(task);
  const stages = task.warmStart.map(({ name, steps, batchSize }) => [name, steps, batchSize]);
  const out = join(folder, "warm-start", `${task.id}-${seed}-${fingerprint(job, stages)}`);
  const policy = join(out, "checkpoint-0", "policy");
  if (existsSync(policy)) {
    await readCheckpoint(out); // checks every byte
    return policy;
  }
  // What is there is an interrupted one: it takes seconds, and its settings may be others.
  await rm(out, { recursive: true, force: true });
  const quick = { steps: 0, evalSamples: 1, saveSteps: 1 };
  const once = { engine, task, system, seed, out, onWarmStart, onWarning: () => {} };
  await train({ ...once, ...quick, abort: signal });
  if (signal?.aborted) throw interrupted();
  return policy;
}

/**
 * One run of one arm from the warm start, or what an earlier run of the same wrote down.
 *
 * @throws FiresteelError ERR_ABORTED after the signal, and as `train`
 */
export async function armRun(job: RunJob): Promise<ArmRun> {
  const { engine, task, system, settings, seed, folder, signal, onStep } = job;
  const given = { ...settings, warmStart: false };
  const file = join(
    folder,
    "runs",
    `${system.id}-${seed}-${fingerprint(job, printSystem(system), settled(job, given))}.json`,
  );
  if (existsSync(file)) return readRun(file);
  const policy = await warmPolicy(job);
  const steps: Pick<StepReport, "step" | "metrics">[] = [];
  const { seconds } = await train({
    // A run that is not whole counts for nothing: there is no end of a step to wait for.
    ...{ engine, task, system, policy, abort: signal, onWarning: () => {} },
    ...{ ...given, seed },
    onStep(report) {
      steps.push({ step: report.step, metrics: report.metrics });
      onStep?.(report);
    },
  });
  if (signal?.aborted) throw interrupted();
  const run: ArmRun = { seed, seconds, steps };
  await ensureFolder(join(folder, "runs"));
  await replaceFile(file, JSON.stringify(run));
  return run;
}

async function readRun(file: string): Promise<ArmRun> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as ArmRun;
  } catch (cause) {
    const message = `Expected a finished run in ${file} but it is not readable JSON; remove it to run it again`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}

function interrupted(): FiresteelError {
  return new FiresteelError("ERR_ABORTED", "Stopped before the last run was done");
}
