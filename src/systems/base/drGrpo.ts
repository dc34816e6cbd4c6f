import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Dr. GRPO (Liu et al. 2025): no division by the group's std, which favours questions of one difficulty, nor
 * by a response's own length, which favours long wrong ones; every row's sum is divided by one constant.
 */
export default defineSystem({
  id: "dr-grpo",
  title: "GRPO done right: no std, no length in the divisor",
  arxiv: "2503.20783",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "none" }),
  loss: [
    surrogate({
      form: "clip",
      epsilon: 0.2,
      aggregation: "seq-mean-token-sum-norm",
      emptyRows: "count",
    }),
  ],
});
