import type { Phase } from "../contract/system.js";
import type { Run } from "./run.js";
import type { TrainSettings } from "./settings.js";
import { phasesAt } from "./stages.js";

/** What decides the course of the learning rate; lengths in any one unit. */
export interface RateSchedule {
  readonly type: TrainSettings["lrSchedulerType"];
  /** Where the course ends, as a share of the peak; 0 to 1. */
  readonly minRatio: number;
  /** In which the rate rises from 0; >= 0. */
  readonly warmup: number;
  /** Of the whole course, warm-up included. */
  readonly length: number;
}

/**
 * The learning rate as a share of its peak, as transformers' schedulers give it for the update that
 * follows `done` others: linear from 0 over the warm-up, then constant, linear or half a cosine
 * ("cosine_with_min_lr") down to `minRatio`, which it reaches after the last update. Beyond its length the
 * linear one stays and the cosine climbs again, as there.
 *
 * @param done of the length, >= 0
 */
export function rateShare({ type, minRatio, warmup, length }: RateSchedule, done: number): number {
  if (done < warmup) return done / warmup;
  if (type === "constant") return 1;
  const after = warmup < length ? (done - warmup) / (length - warmup) : 1;
  const left = type === "linear" ? Math.max(0, 1 - after) : (1 + Math.cos(Math.PI * after)) / 2;
  return minRatio + (1 - minRatio) * left;
}

/**
 * The rate of the next update.
 *
 * How many updates a run will take is not known ahead: a phase may have no prompts, a filter may drop or
 * refill rows. So the course is the run's: steps done, and of the step at hand the share of its phases
 * and of their minibatches. It ends with the run, whatever was left out. Where every step has the same
 * number of updates, these are the rates that transformers would give.
 *
 * "policy-updates" is the official SPARK script's course instead (arXiv 2509.22624; SPARK on OpenRLHF):
 * N counts the updates that the first phase would take without filters, k all updates, the second
 * phase's included. With as many of those again, half a cosine is over in the middle of the run and
 * climbs back to the peak.
 *
 * @param within share of the phase's updates that are done, in [0, 1)
 */
export function learningRate(
  run: Pick<Run, "settings" | "system" | "progress">,
  phase: Phase,
  step: number,
  within: number,
): number {
  const { settings, system, progress } = run;
  const { learningRate: peak, lrSchedulerType: type, lrMinRatio: minRatio } = settings;
  const drifting = settings.lrSchedulerLength === "policy-updates";
  const phases = phasesAt(system, step);
  const done = drifting
    ? progress.updates
    : step - 1 + (phases.indexOf(phase) + within) / phases.length;
  const unit = drifting ? plannedUpdates(system.phases[0]!, settings) : 1;
  const length = settings.steps * unit;
  const warmup =
    settings.warmupSteps > 0 ? settings.warmupSteps * unit : settings.warmupRatio * length;
  return peak * rateShare({ type, minRatio, warmup, length }, done);
}

/** Updates of a phase whose rows nothing filters. */
function plannedUpdates({ update }: Phase, settings: TrainSettings): number {
  const { promptsPerStep, numGenerations } = settings;
  const { minibatchSize, numIterations } = { ...settings, ...update };
  return numIterations * Math.ceil((promptsPerStep * numGenerations) / minibatchSize);
}
