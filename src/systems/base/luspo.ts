import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Length-Unbiased Sequence Policy Optimization (2026): GSPO's row loss times the row's length, which takes
 * back what GSPO holds against long responses. Clip of the paper's section 5.1.
 */
export default defineSystem({
  id: "luspo",
  title: "Length-Unbiased Sequence Policy Optimization",
  arxiv: "2602.05261",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "clip",
      level: "sequence",
      epsilon: 2e-3,
      epsilonHigh: 2.5e-3,
      aggregation: "seq-mean-token-sum",
      emptyRows: "count",
    }),
  ],
});
