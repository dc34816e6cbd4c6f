import { distillation } from "../../blocks/loss/distillation.js";
import { defineSystem } from "../defineSystem.js";

/**
 * On-policy distillation (Agarwal et al. 2024) with the whole gradient: on the student's own rollouts, the
 * forward KL over the teacher's most probable tokens, never below 0 (as in verl). The run names the teacher.
 */
export default defineSystem({
  id: "opd-topk",
  title: "On-policy distillation by the forward KL on the teacher's top tokens",
  arxiv: "2306.13649",
  evidence: "high",
  models: { teacher: { from: "given", trained: false } },
  loss: [distillation({ kind: "forward", topK: 8, support: "truncated", nonNegative: true })],
});
