import { aText, checkArguments, oneOf } from "../engine/arguments.js";
import { mean } from "../statistics/mean.js";
import type { ArmRun, Measure } from "./claim.js";

type Better = Measure["better"];

/** Values of a metric at the steps that have one. */
function present(run: ArmRun, metric: string): number[] {
  return run.steps.flatMap(({ metrics }) => metrics[metric] ?? []);
}

/** A metric at the last step that has it. */
export function atEnd(metric: string, better: Better = "higher"): Measure {
  checkArguments({ metric, better }, { metric: aText, better: oneOf(["higher", "lower"]) });
  return { name: `${metric} at the end`, better, of: (run) => present(run, metric).at(-1) ?? null };
}

/**
 * The mean of a metric over all steps after the first that have it: of held-out accuracy how fast a run
 * learned, where the ends are alike.
 */
export function overRun(metric: string, better: Better = "higher"): Measure {
  checkArguments({ metric, better }, { metric: aText, better: oneOf(["higher", "lower"]) });
  return {
    name: `mean ${metric} over the run`,
    better,
    of(run) {
      return mean(present({ ...run, steps: run.steps.filter(({ step }) => step > 0) }, metric));
    },
  };
}
