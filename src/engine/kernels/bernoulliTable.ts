import { combine, type KernelTable } from "./kernelTable.js";

const axes = {
  output: {
    "log-prob": "log sigmoid(z) where the action is 1, log sigmoid(-z) where it is 0",
    entropy: "-p log p - (1 - p) log(1 - p), p = sigmoid(z)",
    kl: "p log(p / q) + (1 - p) log((1 - p) / (1 - q)), q = sigmoid(reference z)",
  },
} as const;

/** One rounding to float of what is computed in float64. */
export const bernoulliTolerance = 1e-7;

export const bernoulliTable: KernelTable = {
  family: "bernoulli",
  summary: "edge policies: independent yes-or-no actions, z = logit / temperature",
  source: "policies over graphs as in Graph-GRPO (arXiv 2603.02701); the KL is the exact one",
  axes,
  combinations: combine(axes, () => null),
  tolerances: [
    {
      of: "log-prob, entropy and KL",
      cpu: bernoulliTolerance,
      cuda: bernoulliTolerance,
      relativeTo: "the result itself",
    },
    {
      of: "d logits",
      cpu: bernoulliTolerance,
      cuda: bernoulliTolerance,
      relativeTo: "the sum of the absolute parts of log-prob, entropy and KL",
    },
  ],
};
