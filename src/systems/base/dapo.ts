import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { dynamicSampling } from "../../blocks/filter/dynamicSampling.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { overlongPenalty } from "../../blocks/reward/overlongPenalty.js";
import { reward } from "../../blocks/reward/reward.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Decoupled Clip and Dynamic sAmpling Policy Optimization (Yu et al. 2025): a wider upper clip, prompts that
 * are always or never solved replaced by others, a growing penalty before the length limit, and every
 * token weighted alike.
 */
export default defineSystem({
  id: "dapo",
  title: "Decoupled Clip and Dynamic Sampling Policy Optimization",
  arxiv: "2503.14476",
  evidence: "high",
  reward: overlongPenalty(reward(), { factor: 1 }),
  filter: dynamicSampling({ maxGenerations: 10, exhausted: "train" }),
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "clip",
      epsilon: 0.2,
      epsilonHigh: 0.28,
      beta: 0,
      aggregation: "token-mean",
    }),
  ],
});
