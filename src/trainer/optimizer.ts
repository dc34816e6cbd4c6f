import { AdamW } from "../nn/optimizers/adamw.js";
import type { Run } from "./run.js";

/** AdamW as the settings have it; the rate is given at each step. */
export function newOptimizer(
  { engine, models, settings }: Pick<Run, "engine" | "models" | "settings">,
  model: string,
): AdamW {
  const { adamBeta1, adamBeta2, adamEpsilon, weightDecay, maxGradNorm } = settings;
  return new AdamW(engine, models[model]!.parameters, {
    betas: [adamBeta1, adamBeta2],
    eps: adamEpsilon,
    weightDecay,
    maxGradNorm,
  });
}
