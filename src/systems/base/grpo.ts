import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/** Group Relative Policy Optimization (Shao et al. 2024), with TRL's conventions for the constants. */
export default defineSystem({
  id: "grpo",
  title: "Group Relative Policy Optimization",
  arxiv: "2402.03300",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-4 }),
  loss: [surrogate({ form: "clip", epsilon: 0.2, beta: 0, aggregation: "seq-mean-token-mean" })],
});
