import { rewardToGo } from "../../blocks/advantage/rewardToGo.js";
import { whiten } from "../../blocks/credit/whiten.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { klPenalty } from "../../blocks/reward/klPenalty.js";
import { reward } from "../../blocks/reward/reward.js";
import { defineSystem } from "../defineSystem.js";

/**
 * REINFORCE++ (Hu et al. 2025): no groups. Every token is charged its KL, rewards are added up from each token
 * on, and advantages are normalised over the whole batch.
 */
export default defineSystem({
  id: "reinforce-pp",
  title: "REINFORCE++: global advantage normalisation without a critic",
  arxiv: "2501.03262",
  evidence: "high",
  reward: klPenalty(reward(), { beta: 0.01, klEstimator: "k1", level: "token" }),
  advantage: rewardToGo({ gamma: 1 }),
  credit: whiten({ ddof: 1, eps: 1e-8, epsPlacement: "inside" }),
  loss: [surrogate({ form: "clip", epsilon: 0.2, aggregation: "token-mean" })],
});
