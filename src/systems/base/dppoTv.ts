import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Divergence Proximal Policy Optimization, binary total variation (Qi et al. 2026): tokens are dropped by how
 * far their probability has moved, not by its ratio, which rare tokens exceed at once and frequent ones never.
 */
export default defineSystem({
  id: "dppo-tv",
  title: "Divergence Proximal Policy Optimization, total variation",
  arxiv: "2602.04879",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "dppo-tv",
      level: "token",
      epsilon: 0.15,
      epsilonHigh: 0.15,
      ratioCap: 20,
      aggregation: "token-mean",
    }),
  ],
});
