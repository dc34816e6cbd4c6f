// Worked out by hand from the formulas of the papers; the numbers of steps with a name in quotes are
// those of their official code.

import type { FlowStepOptions } from "../../engine/kernels/flowStep.js";
import type { Reduction } from "../../engine/kernels/gaussianTable.js";

/** log(2 pi) / 2. */
const HALF_LOG_TWO_PI = 0.918938533204673;

export interface GaussianGolden {
  name: string;
  value: number[];
  mean: number[];
  std: number;
  mask?: number[];
  reduction?: Reduction;
  logProb: number;
  /** d logProb / d mean. */
  dLogProb: number[];
  /** KL to the same Gaussian around `value`, d kl / d mean. */
  kl: number;
  dKl: number[];
}

export const gaussians: GaussianGolden[] = [
  {
    name: "the mean itself",
    value: [3],
    mean: [3],
    std: 1,
    logProb: -HALF_LOG_TWO_PI,
    dLogProb: [0],
    kl: 0,
    dKl: [0],
  },
  {
    name: "one std away, std 2",
    value: [5],
    mean: [3],
    std: 2,
    logProb: -0.5 - Math.LN2 - HALF_LOG_TWO_PI,
    dLogProb: [0.5],
    kl: 0.5,
    dKl: [-0.5],
  },
  {
    // Squares 1, 9, 4 over 2 * 0.25.
    name: "a mean of three elements",
    value: [1, -3, 2],
    mean: [0, 0, 0],
    std: 0.5,
    logProb: -28 / 3 + Math.LN2 - HALF_LOG_TWO_PI,
    dLogProb: [4 / 3, -4, 8 / 3],
    kl: 28 / 3,
    dKl: [-4 / 3, 4, -8 / 3],
  },
  {
    name: "a mean of two valid elements of three",
    value: [1, -3, 2],
    mean: [0, 0, 0],
    std: 0.5,
    mask: [1, 0, 1],
    logProb: -5 + Math.LN2 - HALF_LOG_TWO_PI,
    dLogProb: [2, 0, 4],
    kl: 5,
    dKl: [-2, 0, -4],
  },
  {
    name: "a sum of two valid elements of three",
    value: [1, -3, 2],
    mean: [0, 0, 0],
    std: 0.5,
    mask: [1, 0, 1],
    reduction: "sum",
    logProb: -10 + 2 * Math.LN2 - 2 * HALF_LOG_TWO_PI,
    dLogProb: [4, 0, 8],
    kl: 10,
    dKl: [-4, 0, -8],
  },
  {
    // Flow-GRPO's KL of means (1, 3) and (0, 0) with s = 1.
    name: "a KL of 2.5",
    value: [0, 0],
    mean: [1, 3],
    std: 1,
    logProb: -2.5 - HALF_LOG_TWO_PI,
    dLogProb: [-0.5, -1.5],
    kl: 2.5,
    dKl: [0.5, 1.5],
  },
];

export interface FlowGolden {
  name: string;
  x: number;
  v: number;
  sigma: number;
  sigmaNext: number;
  options: FlowStepOptions;
  /** Draws `next`; without it, `next` is given. */
  noise?: number;
  next: number;
  mean: number;
  std: number;
  diffusion: number;
  logProb: number;
  /** d logProb / d v. */
  dV: number;
}

export const flowSteps: FlowGolden[] = [
  {
    name: "Flow-GRPO, noise 0",
    x: 1,
    v: 2,
    sigma: 0.5,
    sigmaNext: 0.25,
    options: { kind: "sde", noiseLevel: 1 },
    noise: 0,
    next: 0,
    mean: 0,
    std: 0.5,
    diffusion: 1,
    logProb: -0.225791352644727,
    dV: 0,
  },
  {
    name: "TempFlow-GRPO, noise 1",
    x: 1,
    v: 1,
    sigma: 0.5,
    sigmaNext: 0.25,
    options: { kind: "sde", noiseLevel: 1 },
    noise: 1,
    next: 0.875,
    mean: 0.375,
    std: 0.5,
    diffusion: 1,
    logProb: -0.725791352644727,
    dV: -0.75,
  },
  {
    name: "TP-GRPO, next given",
    x: 1,
    v: 2,
    sigma: 0.5,
    sigmaNext: 0.4,
    options: { kind: "sde", noiseLevel: 0.7, sigmaMax: 0.9 },
    next: 0.702,
    mean: 0.702,
    std: 0.22135943621178655,
    diffusion: 0.7,
    logProb: 0.589028903,
    dV: 0,
  },
  {
    // s = sqrt(1 / (1 - 1/2)), but 1 - sigma itself is 0: mean = x (1 - 1/2) - v / 2.
    name: "the first step, from sigma 1",
    x: 4,
    v: -2,
    sigma: 1,
    sigmaNext: 0.5,
    options: { kind: "sde", noiseLevel: 1, sigmaMax: 0.5 },
    next: 1,
    mean: 3,
    std: 1,
    diffusion: Math.SQRT2,
    logProb: -2 - HALF_LOG_TWO_PI,
    dV: 1,
  },
  {
    // s^2 / (2 sigma) = 1/4: mean = 1 - 1/16 - 2 (1 + 1/8) / 4.
    name: "DanceGRPO, constant diffusion",
    x: 1,
    v: 2,
    sigma: 0.5,
    sigmaNext: 0.25,
    options: { kind: "constant-sde", noiseLevel: 0.5 },
    noise: -2,
    next: -0.125,
    mean: 0.375,
    std: 0.25,
    diffusion: 0.5,
    logProb: -2 + 2 * Math.LN2 - HALF_LOG_TWO_PI,
    dV: 2.25,
  },
  {
    name: "Flow-CPS, noise level 1/2",
    x: 1,
    v: 2,
    sigma: 0.5,
    sigmaNext: 0.4,
    options: { kind: "cps", noiseLevel: 0.5 },
    next: 0.665685424949238,
    mean: 0.565685424949238,
    std: 0.282842712474619,
    diffusion: 0.282842712474619,
    logProb: -0.01,
    // d mean / d v = 0.5 * 0.4 / sqrt 2 - 0.6 * 0.5, times 2 * 0.1.
    dV: -0.031715728752538,
  },
  {
    // All noise is new: mean = 0.6 (x - sigma v).
    name: "Flow-CPS, noise level 1",
    x: 3,
    v: 2,
    sigma: 0.5,
    sigmaNext: 0.4,
    options: { kind: "cps", noiseLevel: 1 },
    noise: 0.5,
    next: 1.4,
    mean: 1.2,
    std: 0.4,
    diffusion: 0.4,
    logProb: -0.04,
    dV: -0.12,
  },
  {
    name: "the last step of Flow-CPS is deterministic",
    x: 1,
    v: 2,
    sigma: 0.25,
    sigmaNext: 0,
    options: { kind: "cps", noiseLevel: 0.7 },
    noise: 5,
    next: 0.5,
    mean: 0.5,
    std: 0,
    diffusion: 0,
    logProb: 0,
    dV: 0,
  },
  {
    name: "noise level 0 is the step of the ODE",
    x: 1,
    v: 2,
    sigma: 1,
    sigmaNext: 0.75,
    options: { kind: "sde", noiseLevel: 0 },
    next: 9,
    mean: 0.5,
    std: 0,
    diffusion: 0,
    logProb: 0,
    dV: 0,
  },
];
