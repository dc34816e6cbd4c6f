import { groupLoss } from "../../blocks/loss/groupLoss.js";
import { bestWorstPairs } from "../../blocks/select/bestWorstPairs.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Direct Preference Optimization (Rafailov et al. 2023), online: the best and the worst of each prompt's
 * fresh rollouts are a pair (Guo et al. 2024), against the frozen policy of the first step.
 */
export default defineSystem({
  id: "dpo",
  title: "Direct Preference Optimization on pairs from rollouts",
  arxiv: "2305.18290",
  evidence: "high",
  select: bestWorstPairs(),
  loss: [groupLoss({ kind: "dpo", beta: 0.1 })],
  update: { minibatchSize: 16 },
});
