import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Geometric-Mean Policy Optimization (Zhao et al. 2025): the geometric mean of the tokens' ratios, each
 * clipped in log space on the side where it would push further. Masked rows count in the mean.
 */
export default defineSystem({
  id: "gmpo",
  title: "Geometric-Mean Policy Optimization",
  arxiv: "2507.20673",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "gmpo",
      level: "sequence",
      epsilon: 0.4,
      epsilonHigh: 0.4,
      aggregation: "seq-mean-token-mean",
      emptyRows: "count",
    }),
  ],
});
