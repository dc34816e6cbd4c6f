import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * CISPO (MiniMax-M1, 2025): the clipped ratio is a constant weight of the token's gradient, so that no token
 * falls silent. Only the ratio's upper limit is used, at TRL's recommended 5.
 */
export default defineSystem({
  id: "cispo",
  title: "Clipped Importance Sampling Policy Optimization",
  arxiv: "2506.13585",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [
    surrogate({ form: "cispo", level: "token", clipRange: [0, 5], aggregation: "token-mean" }),
  ],
});
