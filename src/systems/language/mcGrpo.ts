import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { extraRollouts } from "../../blocks/rollout/extraRollouts.js";
import { dropPivot } from "../../blocks/select/dropPivot.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Median-Centered GRPO: with few rollouts the mean baseline flips advantage signs; the median of G + 1
 * rollouts does not.
 */
export default defineSystem({
  id: "mc-grpo",
  title: "Median-Centered GRPO for small-rollout RL",
  arxiv: "2601.22582",
  evidence: "high",
  rollout: extraRollouts(1),
  advantage: groupNormalize({ center: "median", scale: "median-deviation", eps: 1e-3 }),
  select: dropPivot(),
  loss: [surrogate({ form: "clip", epsilon: 0.2, aggregation: "seq-mean-token-mean" })],
});
