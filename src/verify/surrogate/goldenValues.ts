// Values worked out from the formulas by hand or in 25 digits, without any of this project's code:
// they hold the reference to account as much as the kernels.
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import type { Form, KlEstimator, Level } from "../../engine/kernels/surrogateTable.js";
import type { SurrogateTokens } from "../../reference/surrogate.js";

const ln = Math.log;

/**
 * Two rows of three tokens with log-probs -1, -2, -3, ratios 16, 1, 1/2 to the old policy and advantages
 * 1 and -2; where there are segments, the first two tokens of a row and its last. So the ratios are 4
 * and 1/2 of the segments, 2 of the sequences in the mean and 8 in the product.
 */
export const everyForm = {
  logProb: [-1, -2, -3, -1, -2, -3],
  oldLogProb: [-1 - ln(16), -2, -3 + ln(2), -1 - ln(16), -2, -3 + ln(2)],
  advantage: [1, -2],
  rowOffsets: [0, 3, 6],
  segmentOffsets: [0, 2, 3, 5, 6],
};

interface FormGolden {
  options: Partial<SurrogateOptions>;
  /** By level: the sum of the token losses, and its gradient. */
  levels: Partial<Record<Level, [loss: number, dLogProb: number[]]>>;
}

const thrice = (x: number) => [x, x, x];
const [near, far] = [0.906906676327904, 4.41059714787428];
const [shut, soft] = [0.0873812332916953, 1.57289546593185];

export const forms: Record<Form, FormGolden> = {
  clip: {
    options: { epsilon: 0.4 },
    levels: {
      token: [32.3, [0, -1, -0.5, 32, 2, 0]],
      segment: [13.9, [0, 0, -0.5, 8, 8, 0]],
      sequence: [7.8, [...thrice(0), ...thrice(4)]],
      "sequence-product": [43.8, [...thrice(0), ...thrice(48)]],
      "sequence-token": [7.8, [...thrice(0), ...thrice(4)]],
      none: [3, [...thrice(-1), ...thrice(2)]],
    },
  },
  unclipped: {
    options: {},
    levels: {
      token: [17.5, [-16, -1, -0.5, 32, 2, 1]],
      segment: [8.5, [-4, -4, -0.5, 8, 8, 1]],
      sequence: [6, [...thrice(-2), ...thrice(4)]],
      "sequence-product": [24, [...thrice(-24), ...thrice(48)]],
      "sequence-token": [6, [...thrice(-2), ...thrice(4)]],
      none: [3, [...thrice(-1), ...thrice(2)]],
    },
  },
  reinforce: {
    options: {},
    levels: { none: [-6, [...thrice(-1), ...thrice(2)]] },
  },
  cispo: {
    options: { epsilon: 0.4 },
    levels: {
      token: [-5.2, [-1.4, -1, -0.6, 2.8, 2, 1.2]],
      segment: [-6, [-1.4, -1.4, -0.6, 2.8, 2.8, 1.2]],
      sequence: [-8.4, [...thrice(-1.4), ...thrice(2.8)]],
      "sequence-product": [-8.4, [...thrice(-1.4), ...thrice(2.8)]],
    },
  },
  sapo: {
    options: { tauPositive: 1, tauNegative: 1 },
    levels: {
      token: [
        7.51016145158367,
        [-1.95777365343649e-5, -1, -0.470007424403189, 3.91554730687299e-5, 2, 0.940014848806378],
      ],
      segment: [
        9.13075568977205,
        [
          ...[-0.722826555694594, -0.722826555694594, -0.470007424403189],
          ...[1.44565311138919, 1.44565311138919, 0.940014848806378],
        ],
      ],
      sequence: [8.77270294356006, [...thrice(-soft), ...thrice(2 * soft)]],
      "sequence-product": [11.9890673856672, [...thrice(-shut), ...thrice(2 * shut)]],
      "sequence-token": [8.77270294356006, [...thrice(-soft), ...thrice(2 * soft)]],
      none: [6, [...thrice(-1), ...thrice(2)]],
    },
  },
  gmpo: {
    options: {}, // 0.4 either way, in logs
    levels: {
      segment: [14.3978345757509, [0, -1.22140275816017, -0.5, 8, 8, 0]],
      sequence: [10.5110714146391, [0, -near, -near, far, far, 0]],
    },
  },
  "dppo-tv": {
    options: {}, // 0.2 either way: only the first token's probability has moved further
    levels: { token: [-35.5, [0, -1, -0.5, 32, 2, 1]] },
  },
  vespo: {
    options: { kPositive: 1, lambdaPositive: 0.5, kNegative: 1, lambdaNegative: 0.25 },
    levels: {
      "sequence-product": [
        -15.2328241669714,
        [...thrice(-0.241579067378548), ...thrice(2.78038309520712)],
      ],
    },
  },
};

export interface TokenGolden {
  name: string;
  ratio: number;
  advantage: number;
  options?: Partial<SurrogateOptions>;
  /** Of the current policy; default log ratio, the old policy's being 0. */
  logProb?: number;
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
  {
    name: "cispo, ratio 8, upper clip 4 (verl): weight 5",
    ratio: 8,
    advantage: 1,
    logProb: -1,
    options: { form: "cispo", epsilonHigh: 4 },
    loss: 5,
    gradient: -5,
  },
  {
    name: "cispo, ratio 1/2, capped at 5 alone (TRL): weight 1/2",
    ratio: 0.5,
    advantage: -1,
    logProb: -2,
    options: { form: "cispo", clipRange: [0, 5] },
    loss: -1,
    gradient: 0.5,
  },
  {
    name: "sapo at a ratio of 1: 2 / tau and slope 1",
    ratio: 1,
    advantage: -1,
    options: { form: "sapo" },
    loss: 2 / 1.05,
    gradient: 1,
  },
  {
    name: "sapo, ratio 2, A 1",
    ratio: 2,
    advantage: 1,
    options: { form: "sapo" },
    loss: -2.92423431452002,
    gradient: -soft,
  },
  {
    name: "sapo, ratio 2, A -1: the other temperature",
    ratio: 2,
    advantage: -1,
    options: { form: "sapo" },
    loss: 2.82199961593202,
    gradient: 1.53621958339059,
  },
  {
    name: "gmpo, ratio 1/2, A -1: clipped in the log",
    ratio: 0.5,
    advantage: -1,
    options: { form: "gmpo", level: "sequence" },
    loss: 0.670320046035639,
    gradient: 0,
  },
  {
    name: "gmpo, ratio 2, A -1: no upper clip",
    ratio: 2,
    advantage: -1,
    options: { form: "gmpo", level: "sequence" },
    loss: 2,
    gradient: 2,
  },
  {
    name: "dppo-tv, 0.5 to 0.6, A 1: near enough",
    ratio: 1.2,
    advantage: 1,
    logProb: ln(0.6),
    options: { form: "dppo-tv" },
    loss: 0.612990748519189,
    gradient: -1.2,
  },
  {
    name: "dppo-tv, 0.5 to 0.8, A 1: dropped",
    ratio: 1.6,
    advantage: 1,
    logProb: ln(0.8),
    options: { form: "dppo-tv" },
    loss: 0,
    gradient: 0,
  },
  {
    name: "dppo-tv, 0.5 to 0.8, A -1: going back",
    ratio: 1.6,
    advantage: -1,
    logProb: ln(0.8),
    options: { form: "dppo-tv" },
    loss: -0.357029682102736,
    gradient: 1.6,
  },
  {
    name: "dppo-tv, 0.5 to 0.6, ratio capped at 1.1",
    ratio: 1.2,
    advantage: 1,
    logProb: ln(0.6),
    options: { form: "dppo-tv", ratioCap: 1.1 },
    loss: 0.56190818614259,
    gradient: -1.1,
  },
  {
    name: "vespo, ratio 2, A 1: 4 exp(-3)",
    ratio: 2,
    advantage: 1,
    logProb: -1,
    options: { form: "vespo", level: "sequence-product" },
    loss: 0.199148273471456,
    gradient: -0.199148273471456,
  },
  {
    name: "vespo, ratio 2, A -1: 8 exp(-2)",
    ratio: 2,
    advantage: -1,
    logProb: -1,
    options: { form: "vespo", level: "sequence-product" },
    loss: -1.0826822658929,
    gradient: 1.0826822658929,
  },
  {
    name: "log-ratio of 4 clamped to 1",
    ratio: 4,
    advantage: 1,
    options: { form: "unclipped", logRatioClamp: [-1, 1] },
    loss: -Math.E,
    gradient: 0,
  },
];

/** log-prob minus reference log-prob, estimator, value, gradient; more options. */
export const kls: [number, KlEstimator, number, number, Partial<SurrogateOptions>?][] = [
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
  [ln(2), "k1", 0.5, 0, { klClamp: { difference: 0.5 } }],
  [-ln(2), "k3", 0.25, 0, { klClamp: { value: 0.25 } }],
];

/** Anything else that a call can be: inputs, options, results. */
export interface CallGolden {
  name: string;
  inputs: SurrogateTokens;
  options: SurrogateOptions;
  loss: number;
  dLogProb: number[];
  mismatchWeight?: number[];
  dEntropy?: number[];
  dRatioBias?: number[];
}

const sum = { aggregation: "token-sum", form: "unclipped" } as const;
/** Old over sampler: 4 and 1/2, the policy being the old one. */
const sampled = {
  logProb: [-1, -1],
  oldLogProb: [-1, -1],
  samplerLogProb: [-1 - ln(4), -1 + ln(2)],
  advantage: [1],
  rowOffsets: [0, 2],
};
const opsm = {
  logProb: [-3, -3],
  oldLogProb: [-3, -3],
  samplerLogProb: [-1, -2],
  rowOffsets: [0, 2],
};
const equal = { logProb: [-1, -1, -1, -1, -1, -1], oldLogProb: [-1, -1, -1, -1, -1, -1] };

export const calls: CallGolden[] = [
  {
    name: "gspo-token: the sequence's ratio, each token's own advantage",
    inputs: {
      logProb: [ln(2), 0],
      oldLogProb: [0, 0],
      tokenAdvantage: [1, -2],
      rowOffsets: [0, 2],
    },
    options: { ...sum, level: "sequence-token" },
    loss: Math.SQRT2,
    dLogProb: [-Math.SQRT2, 2 * Math.SQRT2],
  },
  {
    name: "gspo, mean over sequences: 1 / length on every token",
    inputs: {
      logProb: [ln(2), -ln(2), 9],
      oldLogProb: [0, 0, 0],
      advantage: [2],
      mask: [1, 1, 0],
      rowOffsets: [0, 3],
    },
    options: {
      ...{ level: "sequence", epsilon: 3e-4, epsilonHigh: 4e-4 },
      aggregation: "seq-mean-token-mean",
    },
    loss: -2,
    dLogProb: [-1, -1, 0],
  },
  {
    name: "segment advantages",
    inputs: {
      logProb: [ln(2), ln(8), ln(0.5)],
      oldLogProb: [0, 0, 0],
      segmentAdvantage: [1, -1],
      segmentOffsets: [0, 2, 3],
      rowOffsets: [0, 3],
    },
    options: { ...sum, level: "segment" },
    loss: -7.5,
    dLogProb: [-4, -4, 0.5],
  },
  ...(
    [
      ["token-truncate", {}, [2, 0.5]],
      ["token-mask", {}, [0, 0.5]],
      ["sequence-truncate", {}, [2, 2]],
      ["sequence-truncate", { mismatchHigh: 1.5 }, [1.5, 1.5]],
      ["sequence-mask", {}, [2, 2]],
      ["sequence-mask", { mismatchHigh: 1.9 }, [0, 0]],
      ["geometric-mask", { mismatchHigh: 1.5 }, [4, 0.5]],
      ["geometric-mask", { mismatchLow: 1.5 }, [0, 0]],
    ] as const
  ).map(
    ([mismatch, limits, w]): CallGolden => ({
      name: `${mismatch} ${JSON.stringify(limits)} of weights 4 and 1/2`,
      inputs: sampled,
      options: { ...sum, mismatch, ...limits },
      loss: -(w[0] + w[1]),
      dLogProb: [-w[0], -w[1]],
      mismatchWeight: [...w],
    }),
  ),
  {
    name: "vespo takes the mismatch into its ratio: 2 * 1.5 gives 9 exp(-6)",
    inputs: {
      logProb: [-1],
      oldLogProb: [-1 - ln(2)],
      samplerLogProb: [-1 - ln(8)],
      advantage: [1],
      rowOffsets: [0, 1],
    },
    options: {
      ...{ form: "vespo", level: "sequence-product", aggregation: "token-sum" },
      ...{ mismatch: "token-truncate", mismatchHigh: 1.5 },
    },
    loss: 0.0223087695899972,
    dLogProb: [-0.0223087695899972],
    mismatchWeight: [1.5],
  },
  {
    name: "off-policy row of mean distance 1.5, threshold 1: dropped",
    inputs: { ...opsm, advantage: [-1] },
    options: { ...sum, offPolicyThreshold: 1 },
    loss: 0,
    dLogProb: [0, 0],
  },
  {
    name: "off-policy row of mean distance 1.5, threshold 2: kept",
    inputs: { ...opsm, advantage: [-1] },
    options: { ...sum, offPolicyThreshold: 2 },
    loss: 2,
    dLogProb: [1, 1],
  },
  {
    name: "off-policy row with a positive advantage: kept",
    inputs: { ...opsm, advantage: [1] },
    options: { ...sum, offPolicyThreshold: 1 },
    loss: -2,
    dLogProb: [-1, -1],
  },
  {
    name: "shaped row: p / (p + 0.1) at p = 0.1",
    inputs: {
      logProb: [ln(0.1), ln(1.5)],
      oldLogProb: [0, 0],
      advantage: [1, 1],
      shaped: [1, 0],
      rowOffsets: [0, 1, 2],
    },
    options: sum,
    loss: -2,
    dLogProb: [-0.25, -1.5],
  },
  {
    name: "shaped row by the old policy: 0.2 / (0.1 + 0.1)",
    inputs: {
      logProb: [ln(0.2)],
      oldLogProb: [ln(0.1)],
      advantage: [2],
      shaped: [1],
      rowOffsets: [0, 1],
    },
    options: { ...sum, shapeBase: "old" },
    loss: -2,
    dLogProb: [-2],
  },
  {
    name: "normalised ratio: exp(0.2 (0 + 0.25))",
    inputs: {
      logProb: [-1],
      oldLogProb: [-1],
      ratioScale: [0.2],
      ratioBias: [0.25],
      advantage: [-1],
      rowOffsets: [0, 1],
    },
    options: sum,
    loss: 1.05127109637602,
    dLogProb: [0.210254219275205],
    dRatioBias: [0.210254219275205],
  },
  {
    name: "normalised ratio of a flow step, divided by dt, clipped (GRPO-Guard)",
    inputs: {
      logProb: [-1, -1],
      oldLogProb: [-1, -1],
      ratioScale: [0.5, 0.5],
      ratioBias: [0.3, 0.3],
      weight: [4, 4],
      tokenAdvantage: [1, -1],
      rowOffsets: [0, 2],
    },
    options: { epsilon: 0.1, aggregation: "token-sum" },
    loss: -4.4 + 4.64733697091313,
    dLogProb: [0, 2.32366848545657],
    dRatioBias: [0, 2.32366848545657],
  },
  {
    name: "k3 times a ratio of 2, with gradient through it",
    inputs: {
      logProb: [0],
      oldLogProb: [-ln(2)],
      refLogProb: [-ln(2)],
      advantage: [0],
      rowOffsets: [0, 1],
    },
    options: { ...sum, beta: 1, klRatio: true },
    loss: 0.386294361119891,
    dLogProb: [1.38629436111989],
  },
  {
    name: "limits of a token",
    inputs: {
      logProb: [ln(1.5), ln(1.5)],
      oldLogProb: [0, 0],
      advantage: [1],
      tokenLimits: { low: [0.9, 0.9], high: [1.1, 2] },
      rowOffsets: [0, 2],
    },
    options: { aggregation: "token-sum" },
    loss: -2.6,
    dLogProb: [0, -1.5],
  },
  {
    name: "limits of a row",
    inputs: {
      logProb: [ln(1.5), ln(1.5)],
      oldLogProb: [0, 0],
      advantage: [1, 1],
      rowLimits: { low: [0.9, 0.9], high: [1.1, 2] },
      rowOffsets: [0, 1, 2],
    },
    options: { aggregation: "token-sum" },
    loss: -2.6,
    dLogProb: [0, -1.5],
  },
  {
    name: "entropy bonus as the losses: a mean over rows",
    inputs: {
      logProb: [-1, -1, -1],
      oldLogProb: [-1, -1, -1],
      advantage: [0, 0],
      entropy: [1, 3, 5],
      rowOffsets: [0, 2, 3],
    },
    options: { aggregation: "seq-mean-token-mean", entropyCoefficient: 0.5 },
    loss: -1.75,
    dLogProb: [0, 0, 0],
    dEntropy: [-0.125, -0.125, -0.25],
  },
  {
    name: "entropy bonus as a token mean",
    inputs: {
      logProb: [-1, -1, -1],
      oldLogProb: [-1, -1, -1],
      advantage: [0, 0],
      entropy: [1, 3, 5],
      mask: [1, 1, 0],
      rowOffsets: [0, 2, 3],
    },
    options: {
      aggregation: "seq-mean-token-mean",
      entropyCoefficient: 0.5,
      entropyAggregation: "token-mean",
    },
    loss: -1,
    dLogProb: [0, 0, 0],
    dEntropy: [-0.25, -0.25, 0],
  },
  {
    name: "balanced: 2/3 over 4 tokens with A > 0, 1/3 over 2 with A < 0",
    inputs: { ...equal, advantage: [1, 1, -2], rowOffsets: [0, 1, 4, 6], groupOffsets: [0, 3] },
    options: { aggregation: "balanced" },
    loss: 0,
    dLogProb: [-1 / 6, -1 / 6, -1 / 6, -1 / 6, 1 / 3, 1 / 3],
  },
  {
    name: "balanced: A = 0 counts among the rows alone, groups are averaged",
    inputs: { ...equal, advantage: [1, 0, 3], rowOffsets: [0, 1, 4, 6], groupOffsets: [0, 2, 3] },
    options: { aggregation: "balanced" },
    loss: -1.75,
    dLogProb: [-0.25, 0, 0, 0, -0.75, -0.75],
  },
  {
    name: "group-weighted: token means of two groups, weights 2 and 1",
    inputs: {
      ...equal,
      ...{ advantage: [1, 1, 3], rowOffsets: [0, 1, 4, 6], groupOffsets: [0, 2, 3] },
      groupWeight: [2, 1],
    },
    options: { aggregation: "group-weighted" },
    loss: -2.5,
    dLogProb: [-0.25, -0.25, -0.25, -0.25, -0.75, -0.75],
  },
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
  [
    "rows without trained tokens count",
    [[1, 2], [9], [5]],
    [[1, 1], [0], [1]],
    { aggregation: "seq-mean-token-sum", emptyRows: "count" },
    8 / 3,
  ],
];
