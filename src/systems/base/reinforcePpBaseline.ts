import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { whiten } from "../../blocks/credit/whiten.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * REINFORCE++-baseline (Hu et al. 2025): the group gives the baseline, the whole batch the scale, over tokens,
 * so that long responses weigh more in it.
 */
export default defineSystem({
  id: "reinforce-pp-baseline",
  title: "REINFORCE++ with the group's mean as baseline",
  arxiv: "2501.03262",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "none" }),
  credit: whiten({ ddof: 1, eps: 1e-8, epsPlacement: "inside" }),
  loss: [surrogate({ form: "clip", epsilon: 0.2, aggregation: "token-mean" })],
});
