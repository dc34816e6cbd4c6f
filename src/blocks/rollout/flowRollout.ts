import type { RolloutPlan } from "../../contract/system.js";
import { flowKinds } from "../../engine/kernels/gaussianTable.js";
import { choice, flag, number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { intoGroups } from "./rollout.js";

const shape = {
  noise: choice(
    "sde",
    Object.keys(flowKinds) as (keyof typeof flowKinds)[],
    "sde: a sqrt(sigma / (1 - sigma)), constant-sde: a, cps: sigma' sin(a pi / 2)",
  ),
  noiseLevel: number(0.7, { min: 0 }, "a"),
  shift: orNull(number, null, { above: 0 }, "of the times; null: as the policy has it"),
  sharedNoise: flag(false, "whether rollouts of a prompt begin at the same noise"),
};

/** How a flow policy's rollouts are sampled. */
export interface FlowRolloutOptions {
  /** Where the noise of a step comes from; default "sde" (Flow-GRPO). */
  noise?: keyof typeof flowKinds;
  /** a >= 0, at most 1 for "cps"; default 0.7. */
  noiseLevel?: number;
  /** Of the times of a rollout, > 0; default null: the policy's. */
  shift?: number | null;
  /** Default false. */
  sharedNoise?: boolean;
}

/**
 * Rollouts of a flow policy whose steps are stochastic: what makes denoising a policy (Flow-GRPO, arXiv
 * 2505.05470, section 4.2; DanceGRPO, arXiv 2505.07818, section 3.2). A run's `maxCompletionLength` is
 * the number of steps.
 */
export function flowRollout(options: FlowRolloutOptions = {}): RolloutPlan {
  const { values, described } = parseOptions("flowRollout", shape, options, {
    contradicts: {
      noiseLevel: (o) =>
        o.noise === "cps" && o.noiseLevel > 1 ? 'at most 1 (noise is "cps")' : null,
    },
  });
  const { noise, noiseLevel, shift, sharedNoise } = values;
  return {
    block: "flowRollout",
    options: described,
    requires: ["logProbs", "flow"],
    async run(prompts, ctx) {
      const count = ctx.settings.numGenerations;
      const flow = { noise, noiseLevel, ...(shift !== null && { shift }) };
      const rollouts = await ctx.sample({ prompts, counts: count, flow, sharedNoise });
      return intoGroups(prompts, rollouts, count);
    },
  };
}
