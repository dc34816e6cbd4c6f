// Values worked out from the formulas by hand or in 25 digits, without any of this project's code:
// they hold the references to account as much as the kernels.

import type { GroupNormOptions } from "../engine/kernels/groupNorm.js";
import type { SurrogateOptions } from "../engine/kernels/surrogate.js";

const ln = Math.log;

export interface LogProbGolden {
  name: string;
  logits: number[];
  target: number;
  temperature?: number;
  logProb: number;
  entropy: number;
  vocabMean: number;
  /** d logProb / d logits, d entropy / d logits and d vocabMean / d logits. */
  dLogProb: number[];
  dEntropy: number[];
  dVocabMean: number[];
}

export const logProbs: LogProbGolden[] = [
  {
    name: "probabilities 1/10, 2/10, 3/10, 4/10",
    logits: [ln(1), ln(2), ln(3), ln(4)],
    target: 3,
    logProb: -0.916290731874155,
    entropy: 1.27985422583367,
    dLogProb: [-0.1, -0.2, -0.3, 0.6],
    dEntropy: [0.102273086716038, 0.0659167373200866, -0.0227644264523194, -0.145425397583805],
    vocabMean: -1.50807163540706,
    dVocabMean: [0.15, 0.05, -0.05, -0.15],
  },
  {
    name: "the same logits at temperature 1/2: 1/30, 4/30, 9/30, 16/30",
    logits: [ln(1), ln(2), ln(3), ln(4)],
    target: 1,
    temperature: 0.5,
    logProb: -2.01490302054226,
    entropy: 1.07847677511742,
    dLogProb: [-1 / 15, 26 / 15, -18 / 30, -32 / 30],
    dEntropy: [0.154848040436316, 0.249713665446625, 0.0752976175251091, -0.47985932340805],
    vocabMean: -1.81217046648818,
    dVocabMean: [13 / 30, 7 / 30, -1 / 10, -17 / 30],
  },
  {
    name: "a token that cannot occur",
    logits: [0, Number.NEGATIVE_INFINITY, 0],
    target: 0,
    logProb: -Math.LN2,
    entropy: Math.LN2,
    dLogProb: [0.5, 0, -0.5],
    dEntropy: [0, 0, 0],
    vocabMean: Number.NEGATIVE_INFINITY,
    dVocabMean: [0, 0, 0],
  },
  {
    name: "one token",
    logits: [-7],
    target: 0,
    logProb: 0,
    entropy: 0,
    dLogProb: [0],
    dEntropy: [0],
    vocabMean: 0,
    dVocabMean: [0],
  },
];

export const groups: [name: string, rewards: number[], GroupNormOptions, advantage: number[]][] = [
  ["sample std", [1, 0, 0, 0], { eps: 0 }, [1.5, -0.5, -0.5, -0.5]],
  [
    "population std",
    [1, 0, 0, 0],
    { ddof: 0, eps: 0 },
    [1.73205080756888, -0.577350269189626, -0.577350269189626, -0.577350269189626],
  ],
  ["mean only", [3, 1, 2, 6], { scale: "none" }, [0, -2, -1, 3]],
  ["eps beside the scale", [1, 0, 0, 0], { eps: 0.25 }, [1, -1 / 3, -1 / 3, -1 / 3]],
  [
    "median deviation",
    [0, 0.5, 2],
    { center: "median", scale: "median-deviation", eps: 0 },
    [-1, 0, 3],
  ],
  [
    "lower median of an even count",
    [4, 1, 3, 2],
    { center: "median", scale: "none" },
    [2, -1, 1, 0],
  ],
  [
    // Group means 1 and 10, std of all four about their mean 5.5: sqrt((25+9+12.25+30.25) / 3).
    "group means, one std of the batch",
    [0.5, 1.5, 9, 11],
    { scope: "batch", eps: 0, groupOffsets: [0, 2, 4] },
    [-0.0947736035409845, 0.0947736035409845, -0.189547207081969, 0.189547207081969],
  ],
];

export interface TokenGolden {
  name: string;
  ratio: number;
  advantage: number;
  options?: Partial<SurrogateOptions>;
  loss: number;
  gradient: number;
}

export const tokens: TokenGolden[] = [
  { name: "ratio 1.5, A 2: clipped", ratio: 1.5, advantage: 2, loss: -2.4, gradient: 0 },
  { name: "ratio 1.5, A -2: not clipped", ratio: 1.5, advantage: -2, loss: 3, gradient: 3 },
  { name: "ratio 0.5, A 2: not clipped", ratio: 0.5, advantage: 2, loss: -1, gradient: -1 },
  { name: "ratio 0.5, A -2: clipped", ratio: 0.5, advantage: -2, loss: 1.6, gradient: 0 },
  {
    name: "ratio 1.5, A 2, upper clip 1: not clipped",
    ratio: 1.5,
    advantage: 2,
    options: { epsilonHigh: 1 },
    loss: -3,
    gradient: -3,
  },
  {
    name: "ratio 4, A -1, dual clip 3: capped",
    ratio: 4,
    advantage: -1,
    options: { dualClip: 3 },
    loss: 3,
    gradient: 0,
  },
  {
    name: "ratio 2, A -1, dual clip 3: not capped",
    ratio: 2,
    advantage: -1,
    options: { dualClip: 3 },
    loss: 2,
    gradient: 2,
  },
  {
    name: "ratio 4, A -1, delta 3: capped",
    ratio: 4,
    advantage: -1,
    options: { delta: 3 },
    loss: 3,
    gradient: 0,
  },
  { name: "ratio 0, A 2: not clipped", ratio: 0, advantage: 2, loss: 0, gradient: 0 },
  { name: "ratio 0, A -2: clipped", ratio: 0, advantage: -2, loss: 1.6, gradient: 0 },
  { name: "A 0", ratio: 3, advantage: 0, loss: 0, gradient: 0 },
];

/** log-prob minus reference log-prob, estimator, value, gradient. */
export const kls: [number, SurrogateOptions["klEstimator"], number, number][] = [
  [ln(2), "k1", Math.LN2, 1],
  [ln(2), "k2", 0.240226506959101, Math.LN2],
  [ln(2), "k3", 0.193147180559945, 0.5],
  [ln(2), "abs", Math.LN2, 1],
  [ln(2), "k3+", 0.193147180559945, Math.LN2],
  [-ln(2), "k1", -Math.LN2, 1],
  [-ln(2), "k2", 0.240226506959101, -Math.LN2],
  [-ln(2), "k3", 0.306852819440055, -1],
  [-ln(2), "abs", Math.LN2, -1],
  [-ln(2), "k3+", 0.306852819440055, -Math.LN2],
  [0, "k3", 0, 0],
  [0, "abs", 0, 0],
];

/** Token losses by row, with a mask; what becomes of them. */
export const aggregated: [
  name: string,
  losses: number[][],
  masks: number[][],
  SurrogateOptions,
  number,
][] = [
  [
    "trained tokens",
    [
      [1, 2, 3],
      [4, 9, 9],
    ],
    [
      [1, 1, 1],
      [1, 0, 0],
    ],
    { aggregation: "token-mean" },
    2.5,
  ],
  [
    "mean of row means",
    [
      [1, 2, 3],
      [4, 9, 9],
    ],
    [
      [1, 1, 1],
      [1, 0, 0],
    ],
    { aggregation: "seq-mean-token-mean" },
    3,
  ],
  [
    "mean of row sums",
    [[1, 2, 3], [4]],
    [[1, 1, 1], [1]],
    { aggregation: "seq-mean-token-sum" },
    5,
  ],
  [
    "row sums over a horizon",
    [[1, 2, 3], [4]],
    [[1, 1, 1], [1]],
    { aggregation: "seq-mean-token-sum-norm", horizon: 8 },
    0.625,
  ],
  [
    "sum",
    [
      [1, 2, 3],
      [4, 9],
    ],
    [
      [1, 1, 1],
      [1, 0],
    ],
    { aggregation: "token-sum" },
    10,
  ],
  [
    "rows without trained tokens do not count",
    [[1, 2], [9], [5]],
    [[1, 1], [0], [1]],
    { aggregation: "seq-mean-token-mean" },
    3.25,
  ],
  [
    "Dr. GRPO's sum over rows times horizon, all rows counted",
    [
      [1, 2],
      [9, 9],
    ],
    [
      [1, 1],
      [0, 0],
    ],
    { aggregation: "token-sum", denominator: 4 },
    0.75,
  ],
];
