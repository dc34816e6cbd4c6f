// The base algorithms, by what they vary: one line each, and what a run needs beside its id.

/** In the order of the page. The first recipe is what the others are held against. */
export const families = {
  "Baselines and advantages": {
    grpo: "z-score within the group, clipped ratio of each token",
    "dr-grpo": "neither the group's std nor a row's own length divides",
    rloo: "the mean of a rollout's others as baseline, the completion as one action, KL in the reward",
    "reinforce-pp": "no groups: KL charged token by token, returns whitened over the batch",
    "reinforce-pp-baseline": "the group's mean as baseline, whitened over the batch's tokens",
    gpg: "REINFORCE with the group's mean as baseline, scaled by the rows that count",
    ppo: "a value head, generalised advantages, clipped value loss",
  },
  "Ratios and clips": {
    dapo: "wider upper clip, prompts that teach nothing replaced, penalty before the length limit",
    gspo: "ratio and clip of the whole sequence (geometric mean)",
    "gspo-token":
      "the sequence's ratio, each token's own gradient: the same as gspo where a row has one advantage",
    cispo: "the clipped ratio as a constant weight: no token falls silent",
    sapo: "a sigmoid gate of the ratio instead of a hard clip",
    gmpo: "geometric mean of one-sidedly clipped token ratios",
    luspo: "GSPO's row loss times the row's length",
    "dppo-tv": "tokens dropped by how far their probability moved, not by its ratio",
    vespo: "a smooth weight of the sequence's whole ratio",
  },
  "Pairs, teachers, demonstrations": {
    dpo: "best and worst rollout as a pair, logistic loss against the reference",
    ipo: "the same pairs, squared distance to a fixed margin",
    opd: "the student's rollouts, each token credited with the teacher's log-prob minus its own",
    sft: "cross entropy over demonstrations",
  },
  "Flow models": {
    "flow-grpo": "denoising as an SDE, whose steps are Gaussian actions under GRPO",
    "dance-grpo":
      "equal noise at every step, a shared first one, a random part of the steps trained",
  },
};

export const reference = Object.keys(families["Baselines and advantages"])[0];
export const recipeIds = Object.values(families).flatMap((family) => Object.keys(family));
export const abouts = Object.assign({}, ...Object.values(families));

/** Equal for all: three seeds, fifty steps. */
export const budget = { seeds: [1, 2, 3], steps: 50, evalSteps: 5 };

/**
 * What a recipe's `train` needs beside system, policy, seed and budget, made from the seed's warm start.
 * Its time does not count.
 */
export const preparations = {
  /** The teacher is the policy that grpo ends with. */
  async opd({ train, options, folder }) {
    const out = `${folder}/teacher`;
    await train({ ...options, system: reference, evalSteps: null, saveSteps: budget.steps, out });
    return { models: { teacher: `${out}/checkpoint-${budget.steps}/policy` } };
  },
};
