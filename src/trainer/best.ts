import type { Metrics } from "../contract/metrics.js";
import type { Progress } from "./run.js";
import type { TrainSettings } from "./settings.js";

/** Why a run ended before its last step. */
export type StoppedBy = "signal" | "callback" | "patience" | "target";

/**
 * Takes an evaluation into account.
 *
 * @returns whether it is the best so far
 */
export function noteEvaluation(
  progress: Pick<Progress, "best" | "plateau">,
  settings: TrainSettings,
  step: number,
  metrics: Metrics,
): boolean {
  const value = metrics[settings.bestMetric] ?? null;
  if (value === null) return false;
  const gain = (than: number) => (settings.greaterIsBetter ? value - than : than - value);
  const { plateau, best } = progress;
  // Measured from the last value that was enough of a gain: many small gains count once they add up.
  const risen = plateau === null || gain(plateau.value) > settings.earlyStopMinDelta;
  progress.plateau = risen
    ? { value, evaluations: 0 }
    : { ...plateau, evaluations: plateau.evaluations + 1 };
  if (best !== null && gain(best.value) <= 0) return false;
  progress.best = { step, value };
  return true;
}

/** Whether the evaluations so far are a reason to end the run. */
export function enough(
  { best, plateau }: Pick<Progress, "best" | "plateau">,
  settings: TrainSettings,
): "patience" | "target" | null {
  const { earlyStopPatience: patience, earlyStopTarget: target } = settings;
  if (best === null || plateau === null) return null;
  const over = settings.greaterIsBetter ? best.value >= target! : best.value <= target!;
  if (target !== null && over) return "target";
  return patience !== null && plateau.evaluations >= patience ? "patience" : null;
}
