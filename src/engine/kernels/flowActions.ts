import type { Actions } from "../../contract/data.js";
import { anInteger, checkArguments, within } from "../arguments.js";
import type { FlowNoise, FlowSchedule, PerSample } from "./flowCoefficients.js";

export type FlowActions = Extract<Actions, { kind: "flow" }>;

/**
 * Times of a flow rollout of `steps` steps: from 1 to 0 in equal parts, then shifted towards noise by
 * sigma' = shift sigma / (1 + (shift - 1) sigma) (Stable Diffusion 3, Esser et al. 2024, eq. 23).
 *
 * @returns [steps + 1]
 */
export function flowTimes(steps: number, shift = 1): Float32Array {
  checkArguments({ steps, shift }, { steps: anInteger(1), shift: within(1e-3, 1e3) });
  return Float32Array.from({ length: steps + 1 }, (_, i) => {
    const sigma = 1 - i / steps;
    return (shift * sigma) / (1 + (shift - 1) * sigma);
  });
}

/**
 * Schedule and noise of chosen steps of rollouts, by step, as `flowStep` and `flowCoefficients` take
 * them. Where a schedule begins at 1, its second time stands for that in the diffusion, as in
 * Flow-GRPO.
 *
 * @param steps which step of which rollout; one kind of noise in all
 */
export function flowStepNoise(
  kind: FlowActions["noise"],
  steps: readonly { of: Pick<FlowActions, "sigmas" | "noiseLevels">; step: number }[],
): { schedule: FlowSchedule; noise: FlowNoise<PerSample> } {
  const by = (value: (of: (typeof steps)[number]["of"], step: number) => number) =>
    Float64Array.from(steps, ({ of, step }) => value(of, step));
  return {
    schedule: {
      sigma: by(({ sigmas }, step) => sigmas[step]!),
      sigmaNext: by(({ sigmas }, step) => sigmas[step + 1]!),
    },
    noise: {
      kind,
      noiseLevel: by(({ noiseLevels }, step) => noiseLevels[step]!),
      ...(kind === "sde" && { sigmaMax: by(({ sigmas }) => (sigmas[0] === 1 ? sigmas[1]! : 0)) }),
    },
  };
}
