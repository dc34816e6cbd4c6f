import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Group Sequence Policy Optimization (Zheng et al. 2025): ratio and clip of whole sequences, by the geometric
 * mean of their tokens', in the unit in which rewards come.
 */
export default defineSystem({
  id: "gspo",
  title: "Group Sequence Policy Optimization",
  arxiv: "2507.18071",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "clip",
      level: "sequence",
      epsilon: 3e-4,
      epsilonHigh: 4e-4,
      aggregation: "seq-mean-token-mean",
    }),
  ],
});
