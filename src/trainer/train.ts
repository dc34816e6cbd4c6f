import type { Metrics } from "../contract/metrics.js";
import type { Policy } from "../contract/policy.js";
import type { Sampler } from "../contract/sampler.js";
import type { Phase, System } from "../contract/system.js";
import type { Task } from "../contract/task.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { beginRun, beginSteps, endRun } from "./beginRun.js";
import { evaluate } from "./evaluate.js";
import { inspectSystem } from "./inspect.js";
import { stepMetrics } from "./metrics.js";
import { runPhase } from "./phase.js";
import type { Run } from "./run.js";
import { appendMetrics } from "./runFolder.js";
import { type RunNames, type SavedRun, saveRun } from "./save.js";
import type { TrainSettings } from "./settings.js";
import { warmStartAt, warmStartStep } from "./warmStart.js";

/** Supervised steps between two checkpoints and between two reports of the loss. */
const warmStartInterval = { save: 200, report: 20 };

export interface StepReport {
  /** Counts from 1; 0 is the evaluation before the first step. */
  step: number;
  steps: number;
  metrics: Metrics;
}

export interface WarmStartReport {
  step: number;
  steps: number;
  stage: string;
  loss: number;
}

export interface TrainResult {
  /** Steps done, and their wall time with the warm start's, over all sittings. */
  steps: number;
  seconds: number;
  device: Engine["device"];
  /** Of the last step. */
  metrics: Metrics;
  /** Of the evaluation before the first step. */
  start: Metrics;
  out: string | null;
  /** Stopped by the signal before the last step. */
  stopped: boolean;
}

/** Everything that a run needs, settled. */
export interface TrainJob {
  engine: Engine;
  system: System;
  task: Task;
  policy: Policy;
  sampler: Sampler;
  settings: TrainSettings;
  names: RunNames;
  /** The run's folder; null: nothing is written. */
  out: string | null;
  resume: { folder: string; body: SavedRun } | null;
  signal?: AbortSignal;
  onStep?: (report: StepReport) => void;
  onWarmStart?: (report: WarmStartReport) => void;
  onWarning?: (warning: string) => void;
}

/**
 * Trains to the last step or until the signal stops it: at the end of a step, or within one where a
 * reward heeds the signal; that step is then lost.
 *
 * @throws FiresteelError ERR_OPTION, ERR_CHECKPOINT, ERR_SAMPLER, ERR_REWARD, ERR_RANGE and what the
 *   engine throws
 */
export async function trainPolicy(job: TrainJob): Promise<TrainResult> {
  const { settings, out } = job;
  for (const warning of inspectSystem(job)) job.onWarning?.(warning);
  const run = await beginRun(job);
  const { progress, signal } = run;
  try {
    let mark = performance.now();
    const clock = () => {
      const now = performance.now();
      progress.seconds += (now - mark) / 1000;
      mark = now;
    };
    const save = async () => {
      clock();
      if (out !== null) await saveRun(run, job.names, out);
    };
    const report = async (metrics: Metrics) => {
      progress.metrics = metrics;
      if (out !== null) await appendMetrics(out, progress.step, metrics);
      job.onStep?.({ step: progress.step, steps: settings.steps, metrics });
    };

    try {
      await warmUp(job, run, save);
      if (!progress.begun && !signal.aborted) {
        await beginSteps(run);
        await run.sampler.refresh(progress.updates);
        progress.start = await evaluate(run, 0);
        await report(progress.start);
        await save();
      }
      while (progress.step < settings.steps && !signal.aborted) {
        const metrics = await trainStep(run, progress.step + 1);
        progress.step += 1;
        await report(metrics);
        const last = progress.step === settings.steps || signal.aborted;
        if (last || progress.step % settings.saveSteps === 0) await save();
      }
    } catch (error) {
      // The signal has reached a reward within a step: that step is lost, the last checkpoint stands.
      const aborted = error instanceof FiresteelError && error.code === "ERR_ABORTED";
      if (!aborted || !signal.aborted) throw error;
    }
    clock();
    return {
      steps: progress.step,
      seconds: progress.seconds,
      device: run.engine.device,
      metrics: progress.metrics,
      start: progress.start,
      out,
      stopped: progress.step < settings.steps || !progress.begun,
    };
  } finally {
    endRun(run);
  }
}

/** Supervised steps to the end of the warm start, or until the signal stops them. */
async function warmUp(job: TrainJob, run: Run, save: () => Promise<void>): Promise<void> {
  const { settings, task, progress, signal } = run;
  if (!settings.warmStart || progress.begun) return;
  const steps = task.warmStart.reduce((sum, stage) => sum + stage.steps, 0);
  for (;;) {
    const at = warmStartAt(task.warmStart, progress.warmStartStep);
    if (at === null) return;
    const step = progress.warmStartStep + 1;
    const loss = await warmStartStep(run, step % warmStartInterval.report === 0 || step === steps);
    if (loss !== null) job.onWarmStart?.({ step, steps, stage: at.stage.name, loss });
    if (step % warmStartInterval.save === 0 || signal.aborted) await save();
    if (signal.aborted) return;
  }
}

async function trainStep(run: Run, step: number): Promise<Metrics> {
  const { system, settings } = run;
  const begun = performance.now();
  const metrics: Metrics = { ...stepMetrics };
  for (const [i, phase] of phasesAt(system, step).entries()) {
    const values = (await runPhase(run, phase, step)) ?? {};
    for (const [name, value] of Object.entries(values)) {
      metrics[i === 0 ? name : `${phase.name}/${name}`] = value;
    }
  }
  metrics.step_time = (performance.now() - begun) / 1000;
  const due = settings.evalSteps !== null && step % settings.evalSteps === 0;
  if (due || step === settings.steps) Object.assign(metrics, await evaluate(run, step));
  return metrics;
}

/** The phases of a step: all, or those of the planned stage in which it falls. */
function phasesAt(system: System, step: number): readonly Phase[] {
  if (system.stages === null) return system.phases;
  let left = step;
  for (const stage of system.stages) {
    if (left <= stage.steps || stage === system.stages.at(-1)) {
      return system.phases.filter(({ name }) => stage.phases.includes(name));
    }
    left -= stage.steps;
  }
  return [];
}
