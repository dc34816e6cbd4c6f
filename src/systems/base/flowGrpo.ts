import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { clampAdvantage } from "../../blocks/credit/clampAdvantage.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { flowRollout } from "../../blocks/rollout/flowRollout.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Flow-GRPO (Liu et al. 2025): denoising by an SDE with the marginals of the flow's ODE makes every
 * step a Gaussian policy, trained with GRPO's clipped ratio; each step counts equally.
 *
 * Advantages are normalised within the prompt's group, as in the paper; the released configuration
 * takes the standard deviation over the whole batch (`scope: "batch"`). The clip distance is measured
 * on flow2d: in two dimensions the released 1e-4 hardly moves. The paper's KL is `flowKl`; without it
 * flow2d shows over-optimisation.
 */
export default defineSystem({
  id: "flow-grpo",
  title: "Flow-GRPO: training flow matching models via online RL",
  arxiv: "2505.05470",
  evidence: "high",
  policy: "flow",
  task: "flow2d",
  rollout: flowRollout({ noise: "sde", noiseLevel: 0.7 }),
  advantage: groupNormalize({ conventions: "flow_grpo", center: "mean", scale: "std" }),
  credit: clampAdvantage({ limit: 5 }),
  loss: [surrogate({ conventions: "flow_grpo", epsilon: 0.05, aggregation: "token-mean" })],
});
