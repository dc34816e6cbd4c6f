import { constantAdvantage } from "../../blocks/advantage/constantAdvantage.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { demonstrations } from "../../blocks/rollout/demonstrations.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Supervised fine-tuning: cross entropy over demonstrated answers, mean over tokens. REINFORCE's loss is
 * just that where every advantage is 1.
 */
export default defineSystem({
  id: "sft",
  title: "Supervised fine-tuning on demonstrations",
  arxiv: null,
  evidence: "high",
  rollout: demonstrations(),
  advantage: constantAdvantage({ value: 1 }),
  loss: [surrogate({ form: "reinforce", level: "none", aggregation: "token-mean" })],
});
