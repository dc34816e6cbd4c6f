import { groupNormalize } from "../../blocks/advantage/groupNormalize.js";
import { reflect } from "../../blocks/inference/reflect.js";
import { surrogate } from "../../blocks/loss/surrogate.js";
import { recycle } from "../../blocks/observe/recycle.js";
import { lookOnly } from "../../blocks/select/lookOnly.js";
import { recycled } from "../../blocks/source/recycled.js";
import { recycledOnce } from "../../blocks/source/recycledOnce.js";
import type { System } from "../../contract/system.js";
import { aFlag, checkArguments, oneOf, optional, withFields } from "../../engine/arguments.js";
import { defineSystem, type PhaseDefinition } from "../defineSystem.js";

/** Of both phases: z-scores with the sample std, clipped ratios per token, a k3 term to the reference. */
function objective(): Pick<PhaseDefinition, "advantage" | "loss"> {
  return {
    advantage: groupNormalize({ center: "mean", scale: "std", ddof: 1, eps: 1e-9 }),
    loss: [
      surrogate({
        form: "clip",
        level: "token",
        epsilon: 0.2,
        beta: 0.001,
        klEstimator: "k3",
        aggregation: "token-mean",
      }),
    ],
  };
}

const paper = { arxiv: "2509.22624", evidence: "high" } as const;

/** What an ablation leaves away, and what is left. */
const ablations = {
  "policy-only": "the recycled phase left away",
  "reward-only": "policy rollouts recycled, not trained on",
  "static-judge": "judge data made once of the initial policy's rollouts",
} as const;

/** Variants of SPARK. */
export interface SparkOptions {
  /** Default false: as published. */
  balanced?: boolean;
  /** Default: whole. */
  ablation?: keyof typeof ablations;
}

/**
 * SPARK (Liu et al. 2025): after each ordinary step the finished rollouts are rewritten into judging and
 * reflection prompts with known labels, and a second, complete step is made on fresh rollouts of those,
 * from the weights just updated. One model, one optimiser, one objective, one frozen reference (the
 * policy as it was before the first step); no reward model, no supervised loss.
 *
 * As published: recycled batch as large as the policy's, half judging and half reflection; minibatches
 * as the run has them (64 of 512 rollouts in the paper's scripts, 64 of 256 on `arithmetic`). The scripts
 * scale the learning rate by a schedule whose length counts policy steps only while every optimiser step
 * advances it: that is a choice of the run's learning rate, not made here.
 *
 * `balanced` changes two things: as many pointwise questions of right answers as of wrong ones, and
 * minibatches of 256 rollouts for the policy, 32 for the recycled prompts. Plain, once the policy is
 * nearly always right, so is a judge that always says yes.
 *
 * The ablations are those of the paper's table 3. On `arithmetic`, 50 steps, seeds 1 to 3 (held-out accuracy
 * at T = 1 of policy/pointwise/pairwise/reflection): plain .998/.58/.82/1.00; balanced .995/.80/.85/1.00;
 * policy-only with as many rollouts and updates as balanced .998/.71/.67/.99; balanced static-judge
 * .998/.91/.94/1.00; balanced reward-only .92/.90/.88/.99. So the judge gains by being trained, and not, at
 * this size, by co-evolving.
 */
export function sparkSystem(options: SparkOptions = {}): System {
  checkArguments(
    { options },
    {
      options: withFields({
        balanced: optional(aFlag),
        ablation: optional(oneOf(Object.keys(ablations))),
      }),
    },
  );
  const { balanced = false, ablation } = options;
  const policy: PhaseDefinition = {
    name: "policy",
    ...objective(),
    update: balanced ? { minibatchSize: 256 } : {},
  };
  const again: PhaseDefinition = {
    name: "recycled",
    ...objective(),
    update: balanced ? { minibatchSize: 32 } : {},
  };
  const phases: Record<keyof typeof ablations | "whole", PhaseDefinition[]> = {
    whole: [
      { ...policy, observe: recycle({ balanced }) },
      { ...again, source: recycled() },
    ],
    "policy-only": [policy],
    "reward-only": [
      { ...policy, select: lookOnly(), observe: recycle({ balanced }) },
      { ...again, source: recycled() },
    ],
    "static-judge": [policy, { ...again, source: recycledOnce({ balanced }) }],
  };
  const deviations = [
    ...(ablation === undefined ? [] : [ablations[ablation]]),
    ...(balanced ? ["balanced verdicts and minibatches"] : []),
  ];
  return defineSystem({
    id: ["spark", ablation, balanced ? "balanced" : undefined].filter(Boolean).join("-"),
    title: ["Synergistic policy and reward co-evolving (SPARK)", ...deviations].join(", "),
    ...paper,
    phases: phases[ablation ?? "whole"],
    inference: reflect({ rounds: 2 }),
  });
}
