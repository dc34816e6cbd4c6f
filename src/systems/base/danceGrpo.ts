import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { clampAdvantage } from "../../blocks/credit/clampAdvantage.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { flowRollout } from "../../blocks/rollout/flowRollout.js";
import { sampleSteps } from "../../blocks/select/sampleSteps.js";
import { defineSystem } from "../defineSystem.js";

/**
 * DanceGRPO (Xue et al. 2025): an SDE whose noise is the same at every time, one initial noise for all
 * rollouts of a prompt, and a random 60 % of each rollout's steps in the loss, never the last one.
 *
 * Constants as in the released train_grpo_flux.py (eta 0.3, sample standard deviation + 1e-8, advantages
 * within 5, no KL), but for the clip distance: measured on flow2d, where the released 1e-4 hardly moves.
 * The release rewards the prediction of the last step without its noise; here it is the sample itself.
 * The paper's choice of the best and worst rollouts of a larger group, which the released trainer does
 * not have, is `keepExtremes`.
 */
export default defineSystem({
  id: "dance-grpo",
  title: "DanceGRPO: unleashing GRPO on visual generation",
  arxiv: "2505.07818",
  evidence: "high",
  policy: "flow",
  task: "flow2d",
  rollout: flowRollout({ noise: "constant-sde", noiseLevel: 0.3, sharedNoise: true }),
  advantage: groupNormalize({ conventions: "flow_grpo", ddof: 1, eps: 1e-8 }),
  credit: clampAdvantage({ limit: 5 }),
  select: sampleSteps({ fraction: 0.6, choose: "random", dropLast: 1 }),
  loss: [surrogate({ conventions: "flow_grpo", epsilon: 0.05, aggregation: "token-mean" })],
});
