import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Soft Adaptive Policy Optimization (Gao et al. 2025): a sigmoid gate of the ratio, steeper for negative
 * advantages, instead of a hard clip.
 */
export default defineSystem({
  id: "sapo",
  title: "Soft Adaptive Policy Optimization",
  arxiv: "2511.20347",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "sapo",
      level: "token",
      tauPositive: 1,
      tauNegative: 1.05,
      aggregation: "seq-mean-token-mean",
    }),
  ],
});
