import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Variational Sequence-Level Soft Policy Optimization (2026): sequences weighted by a smooth function of
 * their whole ratio that rises and falls again, sharper for negative advantages.
 */
export default defineSystem({
  id: "vespo",
  title: "Variational Sequence-Level Soft Policy Optimization",
  arxiv: "2602.10693",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "vespo",
      level: "sequence-product",
      kPositive: 2,
      lambdaPositive: 3,
      kNegative: 3,
      lambdaNegative: 2,
      aggregation: "token-mean",
    }),
  ],
});
