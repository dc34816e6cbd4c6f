import { combine, type KernelTable } from "./kernelTable.js";

// The order of `terms` and `reductions` is the native numbering: scripts/generateTables.mjs writes it
// into native/kernels/gaussian/terms.h.

/** What one element gives, e = value - mean. */
export const terms = {
  "log-prob": "-e^2 / (2 std^2) - log std - log(2 pi) / 2",
  kl: "e^2 / (2 std^2)",
  "squared-error": "-e^2",
} as const;

/** How the valid elements of a sample become one number. */
export const reductions = {
  mean: "sum over valid elements / their number",
  sum: "sum over valid elements",
} as const;

/** Steps of a flow model from noise level sigma to sigma', dt = sigma' - sigma < 0, a = noiseLevel. */
export const flowKinds = {
  sde: "Euler-Maruyama with diffusion s = a sqrt(sigma / (1 - sigma)) (Flow-GRPO, Liu et al. 2025, arXiv 2505.05470)",
  "constant-sde": "the same with s = a (DanceGRPO, Xue et al. 2025, arXiv 2505.07818)",
  cps: "std = sigma' sin(a pi / 2), the rest of the noise kept (Flow-CPS, Wang & Yu 2025, arXiv 2509.05952)",
} as const;

/** The std of a Gaussian: between these, its square and the inverse of that are ordinary floats. */
export const MIN_STD = 1e-15;
export const MAX_STD = 1e15;

export type Term = keyof typeof terms;
export type Reduction = keyof typeof reductions;
export type FlowKind = keyof typeof flowKinds;

/** What a flow step's log-prob is made of. Flow-CPS leaves the constants and the std out. */
export const flowTerms: Readonly<Record<FlowKind, Term>> = {
  sde: "log-prob",
  "constant-sde": "log-prob",
  cps: "squared-error",
};

const axes = {
  function: {
    gaussianLogProb: `log-density of given values: ${terms["log-prob"]}`,
    gaussianKl: `KL of two Gaussians with one std: ${terms.kl}`,
    "flowStep sde": flowKinds.sde,
    "flowStep constant-sde": flowKinds["constant-sde"],
    "flowStep cps": flowKinds.cps,
  },
  reduction: reductions,
} as const;

/** Roundings of a float are 2^-24 = 6e-8 each. */
export const gaussianTolerances = {
  logProb: 2e-7,
  mean: 2e-7,
  next: 3e-7,
  gradient: 3e-7,
} as const;

export const gaussianTable: KernelTable = {
  family: "gaussian",
  summary:
    "actions that are vectors: log-probs and KL of Gaussians with one std a sample, steps of flow models",
  source: "stated with each kind; log-probs are means over elements, as in Flow-GRPO",
  axes,
  combinations: combine(axes, () => null),
  tolerances: [
    {
      of: "log-prob and KL of given mean and std",
      cpu: gaussianTolerances.logProb,
      cuda: gaussianTolerances.logProb,
      relativeTo: "the sum of the absolute terms; squared error: of e^2",
    },
    {
      of: "mean of a flow step",
      cpu: gaussianTolerances.mean,
      cuda: gaussianTolerances.mean,
      relativeTo: "the parts of x and v in it: size",
    },
    {
      of: "next of a flow step",
      cpu: gaussianTolerances.next,
      cuda: gaussianTolerances.next,
      relativeTo: "size + |std noise|",
    },
    {
      of: "log-prob of a flow step",
      cpu: gaussianTolerances.logProb,
      cuda: gaussianTolerances.logProb,
      relativeTo: "the sum of the absolute terms, and of size |d term / d mean|",
    },
    {
      of: "d mean, d v",
      cpu: gaussianTolerances.gradient,
      cuda: gaussianTolerances.gradient,
      relativeTo: "the absolute parts of the gradient; of a flow step also size times its factor",
    },
  ],
};
