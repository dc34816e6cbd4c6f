import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * GSPO-token (Zheng et al. 2025, section 4.3): the sequence's ratio in value, each token's own gradient, so
 * that advantages may differ within a sequence. With one advantage a sequence, as here, it is GSPO to the
 * rounding; a credit block that parts tokens makes the difference.
 */
export default defineSystem({
  id: "gspo-token",
  title: "Group Sequence Policy Optimization, token variant",
  arxiv: "2507.18071",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({
      form: "clip",
      level: "sequence-token",
      epsilon: 3e-4,
      epsilonHigh: 4e-4,
      aggregation: "seq-mean-token-mean",
    }),
  ],
});
