import type { Metrics } from "../contract/metrics.js";
import type { Policy } from "../contract/policy.js";
import type { RunCallback } from "../contract/run.js";
import type { Sampler } from "../contract/sampler.js";
import type { System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { beginRun, beginSteps, endRun, printRun } from "./beginRun.js";
import { enough, noteEvaluation, type StoppedBy } from "./best.js";
import type { Checkpoint } from "./checkpoint.js";
import { evaluate } from "./evaluate.js";
import { evaluationNames } from "./evaluationNames.js";
import { inspectSystem } from "./inspect.js";
import { stepMetrics } from "./metrics.js";
import { runPhase } from "./phase.js";
import { syncReference } from "./reference.js";
import { checkAbort, type Run, refreshSampler } from "./run.js";
import { appendMetrics, syncMetrics } from "./runFolder.js";
import { type RunNames, saveRun } from "./save.js";
import type { SavedRun } from "./savedRun.js";
import type { TrainSettings } from "./settings.js";
import { phasesAt } from "./stages.js";
import { tell, tellEnd } from "./tell.js";
import { warmStartAt, warmStartStep } from "./warmStart.js";

/** Supervised steps between two checkpoints and between two reports of the loss. */
const warmStartInterval = { save: 200, report: 20 };

/** What a run came to. */
export interface TrainResult {
  /** Steps done, and their wall time with the warm start's, over all sittings. */
  steps: number;
  seconds: number;
  /** Where it ran. */
  device: Engine["device"];
  /** Of the last step. */
  metrics: Metrics;
  /** Of the evaluation before the first step. */
  start: Metrics;
  /** The run's folder; null: nothing was written. */
  out: string | null;
  /** The best evaluation by bestMetric, and its step; null where there was none. */
  best: { step: number; value: number } | null;
  /** Whether it ended before its last step. */
  stopped: boolean;
  /** By what: the signal, a callback, evaluations without a gain, or the target reached. */
  stoppedBy: StoppedBy | null;
}

/** Everything that a run needs, settled. */
export interface TrainJob {
  engine: Engine;
  system: System;
  task: Task;
  policy: Policy;
  sampler: Sampler;
  /** Models that the system leaves to the user, by name; they stay the caller's. */
  given: Readonly<Record<string, Policy>>;
  settings: TrainSettings;
  names: RunNames;
  /** The run's folder; null: nothing is written. */
  out: string | null;
  resume: Checkpoint<SavedRun> | null;
  /** Goes on with other settings than those that were saved. */
  force?: boolean;
  /** Stops the run at the end of a step. */
  signal?: AbortSignal;
  /** Stops it at once; what the step at hand has done is lost, and the last checkpoint stands. */
  abort?: AbortSignal;
  callbacks: readonly RunCallback[];
  /** Told what a user should know of this run, before it begins and while it goes on; by default `train` makes it a process warning. */
  onWarning?: (warning: string) => void;
}

/**
 * Trains to the last step or until a signal stops it: `signal` at the end of a step (sampling goes on to
 * its end), or within one where a reward heeds it; `abort` between two tokens of the sampler, two updates
 * or two steps of the warm start. A step that is not done is lost, and the last checkpoint goes on to the
 * same end.
 *
 * @throws FiresteelError ERR_OPTION, ERR_CHECKPOINT, ERR_SAMPLER, ERR_REWARD, ERR_RANGE and what the
 *   engine throws
 */
export async function trainPolicy(job: TrainJob): Promise<TrainResult> {
  const { settings, out } = job;
  for (const warning of inspectSystem(job)) job.onWarning?.(warning);
  const run = await beginRun(job);
  const { progress } = run;
  let failure: unknown = null;
  try {
    await tell(run, "begin", {
      system: job.system,
      task: job.task,
      settings: { ...settings },
      printed: printRun(run, job.names.models),
      tokenizer: job.policy.tokenizer,
      device: run.engine.device,
      out,
      resumed: job.resume !== null,
      resumedAt: progress.begun ? progress.step : -1,
    });
    const stoppedBy = await runSteps(run, job);
    return {
      steps: progress.step,
      seconds: progress.seconds,
      device: run.engine.device,
      metrics: progress.metrics,
      start: progress.start,
      best: progress.best,
      out,
      stopped: stoppedBy !== null,
      stoppedBy,
    };
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    try {
      await tellEnd(run, progress.step, failure, job.onWarning);
    } finally {
      await endRun(run);
    }
  }
}

/** From where the run stands to its end. @returns why that came before the last step, null: it did not */
async function runSteps(run: Run, { names, resume }: TrainJob): Promise<StoppedBy | null> {
  const { progress, settings, signal, out } = run;
  let mark = performance.now();
  const clock = () => {
    const now = performance.now();
    progress.seconds += (now - mark) / 1000;
    mark = now;
  };
  const save = async () => {
    clock();
    if (out === null) return;
    await tell(run, "saving", { step: progress.step });
    await syncMetrics(out);
    const folder = await saveRun(run, names, out);
    await tell(run, "checkpoint", { step: progress.step, folder });
  };
  let stoppedBy: StoppedBy | null = null;
  /** @returns whether the step's evaluation is the best so far */
  const report = async (metrics: Metrics): Promise<boolean> => {
    const { step } = progress;
    const better = noteEvaluation(progress, settings, step, metrics);
    progress.metrics = metrics;
    if (out !== null) await appendMetrics(out, step, metrics);
    const answers = await tell(run, "step", { step, steps: settings.steps, metrics });
    if (answers.includes("stop")) stoppedBy = "callback";
    else if (signal.aborted) stoppedBy = "signal";
    else stoppedBy = enough(progress, settings);
    return better;
  };

  try {
    // A run that branched off stands by itself from the beginning.
    if (resume !== null && out !== resume.run) await save();
    await warmUp(run, save);
    const { begun } = progress;
    if (!begun) {
      if (signal.aborted) return "signal";
      await beginSteps(run);
    }
    await refreshSampler(run);
    if (!begun) {
      progress.start = await evaluate(run, 0);
      await report(progress.start);
      await save();
    }
    stoppedBy ??= signal.aborted ? "signal" : enough(progress, settings);
    while (progress.step < settings.steps && stoppedBy === null) {
      const metrics = await trainStep(run, progress.step + 1);
      progress.step += 1;
      const better = (await report(metrics)) && settings.keepBest;
      const due = progress.step % settings.saveSteps === 0 || progress.step === settings.steps;
      if (due || better || stoppedBy !== null) await save();
      // It may have come while the checkpoint was written.
      if (signal.aborted) stoppedBy ??= "signal";
    }
  } catch (error) {
    // A signal has reached a reward, the sampler or an update within a step: that step is lost, and the
    // last checkpoint stands.
    const aborted = error instanceof FiresteelError && error.code === "ERR_ABORTED";
    if (!aborted || !signal.aborted) throw error;
    stoppedBy = "signal";
  } finally {
    clock();
  }
  return progress.begun && progress.step >= settings.steps ? null : stoppedBy;
}

/** Supervised steps to the end of the warm start, or until the signal stops them. */
async function warmUp(run: Run, save: () => Promise<void>): Promise<void> {
  const { settings, task, progress, signal } = run;
  if (!settings.warmStart || progress.begun) return;
  const steps = task.warmStart.reduce((sum, stage) => sum + stage.steps, 0);
  for (;;) {
    const at = warmStartAt(task.warmStart, progress.warmStartStep);
    if (at === null) return;
    checkAbort(run);
    const step = progress.warmStartStep + 1;
    const loss = await warmStartStep(run, step % warmStartInterval.report === 0 || step === steps);
    if (loss !== null && !Number.isFinite(loss)) {
      throw new FiresteelError(
        "ERR_RANGE",
        `Expected a finite loss in step ${step} of the warm start (${at.stage.name}) but it is ${loss}`,
      );
    }
    if (loss !== null) await tell(run, "warmStart", { step, steps, stage: at.stage.name, loss });
    if (step % warmStartInterval.save === 0 || signal.aborted) await save();
    if (signal.aborted) return;
  }
}

async function trainStep(run: Run, step: number): Promise<Metrics> {
  const { system, settings } = run;
  const begun = performance.now();
  const evaluations = evaluationNames(run.task, settings).map((name) => [name, null]);
  const metrics: Metrics = { ...stepMetrics, ...Object.fromEntries(evaluations) };
  for (const [i, phase] of phasesAt(system, step).entries()) {
    const values = (await runPhase(run, phase, step)) ?? {};
    for (const [name, value] of Object.entries(values)) {
      metrics[i === 0 ? name : `${phase.name}/${name}`] = value;
    }
  }
  metrics.step_time = (performance.now() - begun) / 1000;
  syncReference(run, step);
  const due = settings.evalSteps !== null && step % settings.evalSteps === 0;
  if (due || step === settings.steps) Object.assign(metrics, await evaluate(run, step));
  return metrics;
}
