import { teacherAdvantage } from "../../blocks/advantage/teacherAdvantage.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * On-policy distillation (Agarwal et al. 2024; Gu et al. 2024): the student's own rollouts, each token
 * credited with log p_teacher - log p_student, which descends the reverse KL. The run names the teacher.
 */
export default defineSystem({
  id: "opd",
  title: "On-policy distillation by the reverse KL per token",
  arxiv: "2306.13649",
  evidence: "high",
  models: { teacher: { from: "given", trained: false } },
  advantage: teacherAdvantage(),
  loss: [surrogate({ form: "clip", epsilon: 0.2, aggregation: "token-mean" })],
});
