import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { klPenalty } from "../../blocks/reward/klPenalty.js";
import { reward } from "../../blocks/reward/reward.js";
import { defineSystem } from "../defineSystem.js";

/**
 * REINFORCE Leave-One-Out (Ahmadian et al. 2024): a rollout's baseline is the mean of its group's others, the
 * whole completion is one action, the KL is part of the reward. Ratio, clip and beta as in TRL's RLOOTrainer.
 */
export default defineSystem({
  id: "rloo",
  title: "REINFORCE Leave-One-Out",
  arxiv: "2402.14740",
  evidence: "high",
  reward: klPenalty(reward(), { beta: 0.05, klEstimator: "k1", level: "sequence" }),
  advantage: groupNormalize({ center: "leave-one-out", scale: "none" }),
  loss: [
    surrogate({
      form: "clip",
      level: "sequence-product",
      epsilon: 0.2,
      aggregation: "seq-mean-token-mean",
    }),
  ],
});
