import { generalizedAdvantage } from "../../blocks/advantage/generalizedAdvantage.js";
import { whiten } from "../../blocks/credit/whiten.js";
import { clippedValue } from "../../blocks/loss/clippedValue.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Proximal Policy Optimization (Schulman et al. 2017) with a value head on the policy: advantages by GAE
 * over token states, whitened over the batch as in verl and TRL's PPOTrainer. A penalty on each token, such
 * as a KL to the reference, goes into the reward: GAE adds up what a reward plan writes as "tokenReward".
 */
export default defineSystem({
  id: "ppo",
  title: "Proximal Policy Optimization with a value head",
  arxiv: "1707.06347",
  evidence: "high",
  advantage: generalizedAdvantage({ gamma: 1, lambda: 0.95 }),
  credit: whiten(),
  loss: [
    surrogate({ form: "clip", epsilon: 0.2, aggregation: "token-mean" }),
    clippedValue({ coefficient: 0.5, epsilon: 0.2 }),
  ],
});
