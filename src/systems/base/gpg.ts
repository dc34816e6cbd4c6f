import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { scaleByNonzero } from "../../blocks/credit/scaleByNonzero.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { defineSystem } from "../defineSystem.js";

/**
 * Group Policy Gradient (Chu et al. 2025): REINFORCE with the group's mean as baseline. No ratio, no clip, no
 * reference, no std; what rows without a reward leave out of the update is scaled back, counted as in verl.
 */
export default defineSystem({
  id: "gpg",
  title: "Group Policy Gradient",
  arxiv: "2504.02546",
  evidence: "high",
  advantage: groupNormalize({ center: "mean", scale: "none" }),
  credit: scaleByNonzero({ count: "reward" }),
  loss: [surrogate({ form: "reinforce", level: "none", aggregation: "token-mean" })],
});
