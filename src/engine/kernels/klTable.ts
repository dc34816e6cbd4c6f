import { combine, type KernelTable, type Refusal } from "./kernelTable.js";
import { type KlEstimator, klEstimators } from "./surrogateTable.js";

/** Whether an estimator is one of its own where only its value counts. */
export function refuseEstimator(estimator: KlEstimator): Refusal | null {
  return estimator === "k3+"
    ? { reason: "without a gradient it is k3", nearest: 'estimator: "k3"' }
    : null;
}

const axes = { estimator: klEstimators } as const;

export const klTable: KernelTable = {
  family: "kl",
  summary:
    "estimates of KL(current || reference) per token and their row sums, for a KL in the reward",
  source: "Schulman 2020",
  axes,
  combinations: combine(axes, (c) => refuseEstimator(c.estimator as KlEstimator)),
  tolerances: [
    { of: "kl", cpu: 4e-7, cuda: 4e-7, relativeTo: "the estimate" },
    { of: "row sums", cpu: 4e-7, cuda: 4e-7, relativeTo: "the sum of absolute estimates" },
  ],
};
