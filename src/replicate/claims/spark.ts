import { sparkSystem } from "../../systems/language/sparkSystem.js";
import type { Claim } from "../claim.js";
import { allOf, exceeds } from "../compare.js";
import { atEnd } from "../measures.js";

const pairwise = atEnd("judge/pairwise_accuracy");
const accuracy = atEnd("eval/accuracy");
const policyOnly = ["policy-only, same rollouts", "policy-only, same updates"] as const;

/**
 * SPARK, section 4: the judge in the network that co-evolves is better than the one that policy training
 * leaves behind. On a small task that is the balanced variant's claim; the plain recipe, whose queue runs
 * dry once the policy is right, is reported beside it.
 */
export const spark: Claim = {
  id: "spark",
  claim:
    "With SPARK (balanced) pairwise judging ends at least 15 points above policy-only GRPO, and the " +
    "policy's accuracy not more than 2 points below",
  baseline:
    "policy-only GRPO, the stronger of two: as many rollouts a step as both of SPARK's phases (512), and " +
    "as many optimiser steps (9) on the policy's 256",
  arms: [
    { name: "balanced", system: sparkSystem({ balanced: true }) },
    {
      name: policyOnly[0],
      system: sparkSystem({ ablation: "policy-only" }),
      settings: { promptsPerStep: 64, minibatchSize: 57 },
    },
    {
      name: policyOnly[1],
      system: sparkSystem({ ablation: "policy-only" }),
      settings: { minibatchSize: 29 },
    },
    { name: "plain", system: sparkSystem() },
    {
      name: "static judge data",
      system: sparkSystem({ balanced: true, ablation: "static-judge" }),
    },
    { name: "reward-only", system: sparkSystem({ balanced: true, ablation: "reward-only" }) },
  ],
  settings: { steps: 50, evalSteps: null },
  measure: pairwise,
  reported: [
    accuracy,
    atEnd("judge/pointwise_accuracy"),
    atEnd("reflection/accuracy"),
    atEnd("num_tokens", "lower"),
  ],
  judge: allOf(
    exceeds({ arm: "balanced", baselines: policyOnly, measure: pairwise, by: 0.15 }),
    exceeds({ arm: "balanced", baselines: policyOnly, measure: accuracy, by: -0.02 }),
  ),
};
