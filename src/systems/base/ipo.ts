import { groupLoss } from "../../blocks/loss/groupLoss.js";
import { bestWorstPairs } from "../../blocks/select/bestWorstPairs.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Identity Preference Optimization (Azar et al. 2024), online as `dpo`: the margin is drawn to 1 / (2 beta)
 * and no further, with log-probs averaged over the length as in TRL.
 */
export default defineSystem({
  id: "ipo",
  title: "Identity Preference Optimization on pairs from rollouts",
  arxiv: "2310.12036",
  evidence: "high",
  select: bestWorstPairs(),
  loss: [groupLoss({ kind: "ipo", beta: 0.1, pooling: "mean" })],
  update: { minibatchSize: 16 },
});
