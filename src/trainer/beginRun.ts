import type { Policy } from "../contract/policy.js";
import { newOptimizer } from "./optimizer.js";
import { printSystem } from "./printSystem.js";
import { runPrompts } from "./prompts.js";
import { noProgress, type Run } from "./run.js";
import { createRunFolder, rewindMetrics } from "./runFolder.js";
import { checkSame, loadRun } from "./save.js";
import { printSettings } from "./settings.js";
import { MemoryStateStore } from "./stateStore.js";
import type { TrainJob } from "./train.js";

/** A run at its beginning, or where its checkpoint left it. */
export async function beginRun(job: TrainJob): Promise<Run> {
  const { engine, system, task, policy, sampler, settings, out, resume } = job;
  const saved = resume?.body;
  const models: Record<string, Policy> = { policy };
  const run: Run = {
    engine,
    system,
    task,
    settings,
    models,
    sampler,
    ...runPrompts(task, policy, settings, (warning) => job.onWarning?.(warning)),
    optimizers: {},
    state: MemoryStateStore.fromJson(saved?.state ?? {}),
    progress: { ...noProgress, ...saved?.progress },
    callbacks: job.callbacks,
    signal: job.signal ?? new AbortController().signal,
  };
  if (resume === null) {
    if (out !== null)
      await createRunFolder(out, printSystem(system) + printSettings(task, settings));
    run.optimizers.policy = newOptimizer(run, "policy");
    return run;
  }
  checkSame(resume.body, run);
  if (run.progress.begun) await beginSteps(run);
  else run.optimizers.policy = newOptimizer(run, "policy");
  await loadRun(run, resume.folder);
  await run.sampler.refresh(run.progress.updates, policy);
  if (out !== null) await rewindMetrics(out, run.progress.begun ? run.progress.step : -1);
  return run;
}

/** Fresh optimisers, and the models that start from the policy as it now stands. */
export async function beginSteps(run: Run): Promise<void> {
  const { system, models, optimizers, progress } = run;
  const policy = models.policy!;
  for (const [name, { from }] of Object.entries(system.models)) {
    models[name] = policy.clone();
    if (from !== "policy") await models[name].load(from.directory);
  }
  const named = system.phases.flatMap((phase) => phase.loss.flatMap((term) => term.models));
  if (named.includes("reference")) models.reference ??= policy.clone();
  for (const name of new Set(["policy", ...system.phases.map((phase) => phase.model)])) {
    optimizers[name]?.dispose();
    optimizers[name] = newOptimizer(run, name);
  }
  progress.begun = true;
}

/** The policy and the engine are the caller's; the rest goes. */
export function endRun(run: Run): void {
  for (const optimizer of Object.values(run.optimizers)) optimizer.dispose();
  for (const [name, model] of Object.entries(run.models)) if (name !== "policy") model.dispose();
}
