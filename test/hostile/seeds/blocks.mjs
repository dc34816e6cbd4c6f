/** Valid arguments of every block's pure function and factory. */
import { option, reward } from "../../../dist/blocks/index.js";
import { naturalLanguage } from "../../../dist/index.js";
import { some } from "./kernels.mjs";
import { flowActions, group, prompt, question, trajectory } from "./rollouts.mjs";

const none = () => [{}];
const rewards = (w) =>
  w.pick([
    [1, 0, 1],
    [0, null, 1, 1],
    [2, 2],
  ]);
const finished = () => ({
  question: question(),
  rewards: [1, 0, 1],
  answers: ["2", "3", null],
  traces: ["1+1=2", "1+1=3", ""],
});
const draw = (w) => () => w.uniform();
const forms = () => ({ ...naturalLanguage });
const templates = { pointwiseTemplates: 2, pairwiseTemplates: 2 };

const limits = () => ({ min: 0, below: 2 });
const scheduled = (w) => w.pick([0.5, { schedule: "linear", from: 0, to: 1, steps: 4 }]);

/** What a block's own options are declared with. */
const declarations = {
  atStep: (w) => [scheduled(w), 3],
  parseOptions: () => [
    "block",
    {
      scale: option.number(1, limits(), "a scale"),
      kind: option.choice("a", ["a", "b"], "a kind"),
    },
    { scale: 0.5 },
    { inapplicable: { kind: ({ scale }) => (scale > 1 ? "scale is large" : null) } },
  ],
  "option.atStep": (w) => [scheduled(w), 3],
  "option.choice": () => ["a", ["a", "b"], "a kind"],
  "option.flag": () => [true, "a flag"],
  "option.integer": () => [1, limits(), "a count"],
  "option.integers": () => [limits(), "counts"],
  "option.nameOrNull": () => ["a name"],
  "option.named": () => [["low", "high"], limits(), "by name"],
  "option.number": () => [0.5, limits(), "a scale"],
  "option.numbersByName": () => ["weights"],
  "option.orNull": () => [option.number, null, limits(), "a limit"],
  "option.pair": () => ["a pair"],
  "option.pairOrOpen": () => ["an interval"],
  "option.scheduled": (w) => [scheduled(w), limits(), "a coefficient"],
  "option.text": () => ["a", "a text"],
};

export const blocks = {
  ...declarations,
  balanceVerdicts: (w) => [[{ right: true }, { right: false }, { right: null }], draw(w)],
  bestWorstPair: (w) => [rewards(w), 0.5],
  bestWorstPairs: () => [{ margin: 0.5 }],
  callReward: (w) => [
    "correct",
    w.pick([({ completions }) => completions.map(() => 1), async () => [1]]),
    {
      prompts: [prompt()],
      completions: ["2"],
      trajectories: [trajectory(w)],
      columns: {},
      signal: w.signal(),
    },
  ],
  clampAdvantage: () => [{ limit: 5 }],
  clampColumn: (w) => [trajectory(w).columns.advantage, 0.7],
  clippedValue: () => [{ coefficient: 0.5, epsilon: 0.2 }],
  clippedValueLoss: () => [0.1, 0.2, 0.3, 0.2],
  compensate: () => [[1, 2, -1]],
  constantAdvantage: () => [{ value: 1 }],
  demonstrations: none,
  discountedReturns: (w) => [[1, 2], Uint8Array.of(1, 1), ...(w.chance(0.5) ? [0.9] : [])],
  distillation: (w) => [
    w.pick([
      {},
      { kind: "reverse" },
      { kind: "jsd", weight: 0.5 },
      { kind: "forward", topK: 4, support: "truncated", nonNegative: true },
    ]),
  ],
  dropPivot: () => [{ compensate: true }],
  dropZeroVariance: none,
  dynamicSampling: () => [{ metric: null, maxGenerations: 4, exhausted: "train" }],
  explainedVariance: () => [
    [1, 2, 3],
    [1, 2, 2],
    [1, 1, 0],
  ],
  extraRollouts: () => [1],
  extremeIndices: (w) => [rewards(w), { best: 1, worst: 1 }],
  flowKl: (w) => [some(w, { beta: 0.1, std: "step" })],
  flowRollout: (w) => [some(w, { noise: "sde", noiseLevel: 0.7, shift: 3, sharedNoise: true })],
  flowStds: (w) => [[{ actions: flowActions() }], w.pick(["diffusion", "step"])],
  generalizedAdvantage: () => [{ gamma: 0.9, lambda: 0.9 }],
  generalizedAdvantages: (w) => [
    [0, 1],
    Float32Array.of(0.5, 0.5),
    w.pick([[1, 1], Uint8Array.of(1, 0)]),
    { gamma: 0.9, lambda: 0.9 },
  ],
  groupAdvantages: (w) => [
    w.engine,
    rewards(w).concat(1, 1).slice(0, 4),
    { groupOffsets: [0, 2, 4], center: "mean" },
  ],
  groupLoss: () => [{ kind: "real", tau: 0.5 }],
  groupNormalize: (w) => [
    some(w, { conventions: "verl", center: "median", scale: "std", ddof: 0, eps: 1e-4 }),
  ],
  groupOffsets: (w) => [[group(w), group(w, "h")]],
  guarded: (w) => [
    ({ completions }) => completions.map(() => 1),
    w.pick([
      { timeoutSeconds: 1 },
      { batch: "each", concurrency: 2 },
      { retries: 1, retryDelaySeconds: 0.01, onFailure: "null" },
    ]),
  ],
  intoGroups: (w) => [
    [prompt("a"), prompt("b")],
    [0, 1, 2, 3].map((id) => trajectory(w, 1, id)),
    2,
    0,
  ],
  isConstant: (w) => [rewards(w)],
  judgeItem: (w) => [finished(), { pSingle: 0.3, ...templates }, draw(w)],
  keepExtremes: () => [{ best: 1, worst: 1 }],
  klHinge: () => [{ beta: 0.1, delta: 0.2, klEstimator: "k3" }],
  klPenalty: (w) => [reward(), some(w, { beta: 0.1, klEstimator: "k3", level: "token" })],
  lookOnly: none,
  lowerMedian: (w) => [rewards(w)],
  mapRows: (w) => [[group(w)], (t) => t],
  maskTruncated: none,
  nextCall: () => [2, [false], 3],
  nonzeroScale: (w) => [rewards(w)],
  overlongPenalty: () => [reward(), { maxLength: 8, buffer: 2, factor: 1 }],
  perAction: (w) => [
    "advantage",
    w.pick([
      { level: "row", value: 1 },
      { level: "segment", values: Float32Array.of(1, 2), bounds: Int32Array.of(0, 1, 2) },
      { level: "action", values: Float32Array.of(1, 2) },
    ]),
    2,
  ],
  pivotIndex: (w) => [rewards(w)],
  recycle: (w) => [
    some(w, {
      capJudge: 2,
      capReflect: 1,
      pSingle: 0.3,
      templates: "english",
      balanced: true,
      clear: "epoch",
    }),
  ],
  recycleStep: (w) => [
    [finished(), finished()],
    w.pick([forms(), () => forms()]),
    { pSingle: 0.3, capJudge: 2, capReflect: 1, balanced: true },
    draw(w),
  ],
  recycled: () => [{ batch: 2 }],
  recycledOnce: (w) => [some(w, { policyBatches: 1, batch: 2, capJudge: 2, balanced: true })],
  refill: (w) => [[1, 2], (n) => n === 2, async () => [w.below(4)], 3],
  reflect: () => [{ rounds: 2, templates: "english" }],
  reflectionCourse: () => [[false, true], 3],
  reflectionItem: (w) => [finished(), 0, 2, draw(w)],
  reward: () => [{ rewardWeights: { correct: 1 } }],
  rewardContext: (w) => [[trajectory(w)], w.signal(), () => {}],
  rewardToGo: () => [{ gamma: 0.9 }],
  rollout: () => [{ numGenerations: 4 }],
  rowKl: (w) => [
    w.engine,
    [
      {
        logProb: Float32Array.of(-1, -2),
        refLogProb: Float32Array.of(-1, -1),
        mask: Uint8Array.of(1, 1),
      },
    ],
    "k3",
  ],
  sampleSteps: () => [{ fraction: 0.5, choose: "random", dropLast: 1 }],
  scaleByNonzero: () => [{ count: "reward" }],
  softOverlong: () => [7, { maxLength: 8, buffer: 2, factor: 1 }],
  splitByVariance: (w) => [[group(w), group(w, "h")]],
  stepMask: (w) => [
    Uint8Array.of(1, 1, 0, 1),
    { fraction: 0.5, choose: w.pick(["first", "random"]), dropLast: 1 },
    draw(w),
  ],
  subsample: (w) => [["a", "b", "c"], 2, draw(w)],
  surrogate: (w) => [
    some(w, {
      form: "clip",
      epsilon: 0.2,
      aggregation: "token-mean",
      beta: 0.1,
      conventions: "verl",
    }),
  ],
  takeBatch: () => [["a", "b", "c"], 2],
  teacherAdvantage: none,
  teacherAdvantages: () => [[-1, -2], Float32Array.of(-1, -1)],
  tokenRewards: (w) => [trajectory(w)],
  topTokens: () => [Float32Array.of(1, 2, 3, 4, 5, 6), 3, [1, 1], 2, 0.5],
  weightedSum: () => [{ correct: 1, style: null }, { correct: 2 }],
  whiten: () => [{ ddof: 1, eps: 1e-8, epsPlacement: "inside" }],
  whitened: (w) => [w.engine, [[1, 2], Float32Array.of(3)], [[1, 1], [1]], { ddof: 1 }],
  withColumn: (w) => [trajectory(w), "weight", { level: "row", value: 1 }],
  workerReward: (w) => [
    w.path("reward.mjs"),
    some(w, { export: "default", workers: 1, timeoutSeconds: 1 }),
  ],
};
