import { basename, dirname } from "node:path";
import type { Policy } from "../contract/policy.js";
import { FiresteelError } from "../engine/error.js";
import { lockFolder } from "../files/lockFolder.js";
import { phaseBlocks } from "../options/phaseBlocks.js";
import { type Checkpoint, checkNewest, settleCheckpoints } from "./checkpoint.js";
import { newOptimizer } from "./optimizer.js";
import { printSystem } from "./printSystem.js";
import { runPrompts } from "./prompts.js";
import { noProgress, type Run } from "./run.js";
import { beginRunFolder, ensureFolder, rewindRunFolder } from "./runFolder.js";
import { differencesFrom, loadRun, type RunNames, retentionOf } from "./save.js";
import type { SavedRun } from "./savedRun.js";
import { describeSettings, printSettings } from "./settings.js";
import { MemoryStateStore } from "./stateStore.js";
import type { TrainJob } from "./train.js";

/** A run at its beginning, or where its checkpoint left it. */
export async function beginRun(job: TrainJob): Promise<Run> {
  const run = newRun(job);
  try {
    if (job.resume === null) await beginAnew(run, job);
    else await goOn(run, job, job.resume);
    return run;
  } catch (error) {
    await endRun(run);
    throw error;
  }
}

function newRun(job: TrainJob): Run {
  const { engine, system, task, policy, sampler, settings, out, resume } = job;
  const saved = resume?.body;
  const abort = job.abort ?? new AbortController().signal;
  const models: Record<string, Policy> = { policy, ...job.given };
  return {
    engine,
    system,
    task,
    settings,
    models,
    given: ["policy", ...Object.keys(job.given)],
    sampler,
    ...runPrompts(task, policy, settings, (warning) => job.onWarning?.(warning)),
    optimizers: {},
    stored: new Map(),
    state: MemoryStateStore.fromJson(saved?.state ?? {}),
    progress: { ...noProgress, ...saved?.progress },
    callbacks: job.callbacks,
    out,
    unlock: null,
    signal: AbortSignal.any([job.signal, abort].filter((signal) => signal !== undefined)),
    abort,
  };
}

async function beginAnew(run: Run, job: TrainJob): Promise<void> {
  if (run.out !== null) {
    await takeFolder(run, run.out, job);
    await beginRunFolder(run.out, printRun(run, job.names.models));
  }
  run.optimizers.policy = newOptimizer(run, "policy");
}

async function goOn(run: Run, job: TrainJob, resume: Checkpoint<SavedRun>): Promise<void> {
  const { progress, out } = run;
  const differences = differencesFrom(resume.body, run);
  if (differences.length > 0) {
    if (!job.force) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected the settings of the run to resume but ${differences.join("; ")} (force goes on with ` +
          "them nevertheless)",
      );
    }
    for (const difference of differences) job.onWarning?.(`forced: ${difference}`);
    progress.forced = [...progress.forced, { step: progress.step, differences }];
  }
  if (out !== null) {
    await takeFolder(run, out, job);
    if (out === resume.run) await checkNewest(out, resume.folder);
  }
  if (progress.begun) await beginSteps(run);
  else run.optimizers.policy = newOptimizer(run, "policy");
  await loadRun(run, resume, job.force ? (job.onWarning ?? (() => {})) : null);
  if (out === null) return;
  const printed = printRun(run, job.names.models);
  if (out !== resume.run) await beginRunFolder(out, printed);
  else await settleCheckpoints(out, basename(resume.folder), retentionOf(run));
  const from = resume.run ?? dirname(resume.folder);
  await rewindRunFolder(out, from, progress.begun ? progress.step : -1, printed);
}

/** From here on nobody else writes into the run's folder. */
async function takeFolder(run: Run, out: string, { onWarning }: TrainJob): Promise<void> {
  await ensureFolder(out);
  const take = (fd: number) => run.engine.addon.lockFile(fd);
  run.unlock = await lockFolder(out, take, (warning) => onWarning?.(warning));
}

/** What runs, and where it was forced to go on otherwise than it began. */
export function printRun(
  { system, task, settings, progress }: Run,
  models: RunNames["models"],
): string {
  const forced = progress.forced.map(
    ({ step, differences }) => `\nforced after step ${step}: ${differences.join("; ")}\n`,
  );
  const described = printSettings(task, describeSettings(task, settings));
  return [printSystem(system), printGiven(models), "\n", described, ...forced].join("");
}

/** Fresh optimisers, and the models that start from the policy as it now stands. */
export async function beginSteps(run: Run): Promise<void> {
  const { system, models, optimizers, progress } = run;
  const policy = models.policy!;
  for (const [name, { from }] of Object.entries(system.models)) {
    if (from === "given") continue;
    models[name] = policy.clone();
    if (from !== "policy") await models[name].load(from.directory);
  }
  const named = system.phases.flatMap((phase) =>
    phaseBlocks(phase).flatMap(({ block }) => block.models ?? []),
  );
  if (named.includes("reference")) models.reference ??= policy.clone();
  for (const name of new Set(["policy", ...system.phases.map((phase) => phase.model)])) {
    optimizers[name]?.dispose();
    optimizers[name] = newOptimizer(run, name);
  }
  progress.begun = true;
}

/** Where the models come from that the user chose. */
function printGiven(models: RunNames["models"]): string {
  const lines = Object.entries(models).map(([name, from]) => `model ${name} is ${from}\n`);
  return lines.length === 0 ? "" : `\n${lines.join("")}`;
}

/** The policy, given models and the engine are the caller's; the rest goes. */
export async function endRun(run: Run): Promise<void> {
  for (const optimizer of Object.values(run.optimizers)) optimizer.dispose();
  for (const [name, model] of Object.entries(run.models)) {
    if (!run.given.includes(name)) model.dispose();
  }
  await run.unlock?.();
  run.unlock = null;
}
