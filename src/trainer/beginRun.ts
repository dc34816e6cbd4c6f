import type { Question } from "../contract/data.js";
import type { Policy } from "../contract/policy.js";
import { newOptimizer } from "./optimizer.js";
import { phaseBlocks, printSystem } from "./printSystem.js";
import { tokenized } from "./prompts.js";
import { noProgress, type Run } from "./run.js";
import { createRunFolder, rewindMetrics } from "./runFolder.js";
import { checkSame, loadRun, type RunNames } from "./save.js";
import { printSettings } from "./settings.js";
import { MemoryStateStore } from "./stateStore.js";
import type { TrainJob } from "./train.js";

/** A run at its beginning, or where its checkpoint left it. */
export async function beginRun(job: TrainJob): Promise<Run> {
  const { engine, system, task, policy, sampler, settings, out, resume } = job;
  const saved = resume?.body;
  const models: Record<string, Policy> = { policy, ...job.given };
  const prompts = (questions: readonly Question[]) =>
    questions.map((question) => tokenized(question, policy.tokenizer));
  const run: Run = {
    engine,
    system,
    task,
    settings,
    models,
    given: ["policy", ...Object.keys(job.given)],
    sampler,
    train: prompts(task.train),
    evaluation: prompts(task.evaluation),
    evaluations: Object.fromEntries(
      Object.entries(task.evaluations ?? {}).map(([name, questions]) => [name, prompts(questions)]),
    ),
    optimizers: {},
    state: MemoryStateStore.fromJson(saved?.state ?? {}),
    progress: { ...noProgress, ...saved?.progress },
    callbacks: job.callbacks,
    signal: job.signal ?? new AbortController().signal,
  };
  if (resume === null) {
    if (out !== null)
      await createRunFolder(
        out,
        printSystem(system) + printGiven(job.names.models) + printSettings(task, settings),
      );
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
export function endRun(run: Run): void {
  for (const optimizer of Object.values(run.optimizers)) optimizer.dispose();
  for (const [name, model] of Object.entries(run.models)) {
    if (!run.given.includes(name)) model.dispose();
  }
}
