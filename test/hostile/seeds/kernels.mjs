/** Valid arguments of the kernels, as small as they can be with everything in them. */
import { divergence, kernelTables } from "../../../dist/index.js";

const tokens = 4;
const rows = [0, 3, 4];

/** Of some fields a random part: all combinations are reached in time. */
export function some(world, fields, share = 0.4) {
  return Object.fromEntries(Object.entries(fields).filter(() => world.chance(share)));
}

function choicesOf(family) {
  return kernelTables.find((table) => table.family === family);
}

/** A legal combination of a family's choices. */
function combination(world, family) {
  const legal = choicesOf(family).combinations.filter(({ refusal }) => refusal === null);
  return { ...world.pick(legal).choices };
}

const logits = (w) => w.tensor([tokens, 5], w.pick(["f32", "bf16", "f16"]));
const targets = (w) => w.ids([0, 4, 2, 1]);

const rowOptions = (w) =>
  some(w, {
    temperature: w.pick([0.7, w.data([tokens])]),
    mask: w.data([tokens], "u8"),
    columns: 5,
  });
const wanted = (w) => some(w, { entropy: true, vocabMean: true });

/** The inputs of a surrogate, apart from what the log-probs come from. */
function lossInputs(w) {
  const one = w.pick(["advantage", "tokenAdvantage"]);
  return {
    oldLogProb: w.data([tokens]),
    [one]: w.data([one === "advantage" ? 2 : tokens]),
    rowOffsets: w.offsets(rows),
    ...some(
      w,
      {
        refLogProb: w.data([tokens]),
        samplerLogProb: w.data([tokens]),
        weight: w.data([tokens]),
        mask: w.data([tokens], "u8"),
      },
      0.2,
    ),
  };
}

function lossOptions(w, clips) {
  const aggregation = w.pick([
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "token-sum",
  ]);
  return {
    aggregation,
    ...some(w, { denominator: 3, ...(clips && { epsilon: 0.2, epsilonHigh: 0.3 }) }, 0.2),
  };
}

function pickedForm(w) {
  const { form, level } = combination(w, "surrogate");
  return { ...(form && { form }), ...(level && { level }) };
}

export const kernels = {
  logProb: (w) => [w.engine, logits(w), targets(w), { ...rowOptions(w), ...wanted(w) }],
  logProbBackward: (w) => [
    w.engine,
    {
      logits: logits(w),
      targets: targets(w),
      stats: w.tensor([tokens, 2]),
      dLogProb: w.data([tokens]),
      ...some(w, { mask: w.data([tokens], "u8"), columns: 5 }),
      ...(w.chance(0.3) && { entropy: w.data([tokens]), dEntropy: w.data([tokens]) }),
      ...(w.chance(0.3) && { vocabMean: w.data([tokens]), dVocabMean: w.data([tokens]) }),
      ...(w.chance(0.3) && { vocabStart: 5, vocab: 10 }),
    },
  ],
  logProbPartial: (w) => [w.engine, logits(w), targets(w), { ...rowOptions(w), vocabStart: 0 }],
  logProbMerge: (w) => [
    w.engine,
    w.pick([
      w.tensor([2, tokens, 6], "f64"),
      [w.tensor([tokens, 6], "f64"), w.tensor([tokens, 6], "f64")],
    ]),
    { vocab: 10, ...wanted(w) },
  ],
  linearLogProb: (w) => {
    const dtype = w.pick(["f32", "bf16"]);
    const options = some(w, {
      temperature: 0.5,
      mask: w.data([tokens], "u8"),
      chunkBytes: 1 << 20,
    });
    const head = [w.tensor([tokens, 8], dtype), w.tensor([5, 8], dtype)];
    return [w.engine, ...head, targets(w), { ...options, ...wanted(w) }];
  },
  linearLogProbBackward: (w) => [
    w.engine,
    {
      hidden: w.tensor([tokens, 8]),
      weight: w.tensor([5, 8]),
      targets: targets(w),
      stats: w.tensor([tokens, 2]),
      dLogProb: w.data([tokens]),
      ...some(w, { mask: w.data([tokens], "u8"), temperature: 0.5 }),
      ...(w.chance(0.3) && { entropy: w.data([tokens]), dEntropy: w.data([tokens]) }),
      ...(w.chance(0.3) && {
        dHidden: w.tensor([tokens, 8]),
        dWeight: w.tensor([5, 8]),
        accumulate: true,
      }),
    },
  ],
  linearLogProbMemory: (w) => [
    {
      tokens: 4,
      vocab: 5,
      hidden: 8,
      dtype: "f32",
      ...some(w, { chunkBytes: 1 << 20, device: "cpu" }),
    },
  ],
  groupNorm: (w) => [
    w.engine,
    w.pick([() => w.data([tokens]), () => w.tensor([tokens, 3])])(),
    {
      ...(w.chance(0.5) ? { groupOffsets: w.offsets([0, 2, 4]) } : { keys: ["a", 1, "a", 1] }),
      ...(w.chance(0.6) && pickedNorm(w)),
      ...some(w, { valid: w.data([tokens], "u8"), eps: 1e-4 }, 0.3),
    },
  ],
  klEstimate: (w) => [
    w.engine,
    {
      logProb: w.data([tokens]),
      refLogProb: w.data([tokens]),
      rowOffsets: w.offsets(rows),
      ...some(w, { mask: w.data([tokens], "u8") }),
    },
    {
      estimator: w.pick(["k1", "k2", "k3", "abs"]),
      ...some(w, { clamp: { difference: 20, value: 10 } }),
    },
  ],
  surrogate: (w) => {
    const form = w.chance(0.5) ? pickedForm(w) : {};
    const segments = form.level === "segment" && { segmentOffsets: w.offsets([0, 1, 3, 4]) };
    const limits = form.form === undefined &&
      w.chance(0.2) && { rowLimits: { low: w.data([2]), high: w.data([2]) } };
    const entropy = w.chance(0.1) && { entropy: w.data([tokens]) };
    const inputs = {
      logProb: w.data([tokens]),
      ...lossInputs(w),
      ...segments,
      ...limits,
      ...entropy,
    };
    return [
      w.engine,
      inputs,
      { ...lossOptions(w, limits === false && form.form === undefined), ...form },
    ];
  },
  tokenLoss: (w) => [
    w.engine,
    { logits: logits(w), targets: targets(w), ...lossInputs(w) },
    { ...lossOptions(w, true), ...some(w, { temperature: 0.5, columns: 5, entropy: true }) },
  ],
  rowScore: (w) => [
    w.engine,
    {
      logProb: w.data([tokens]),
      rowOffsets: w.offsets(rows),
      ...some(w, { baseLogProb: w.data([tokens]), mask: w.data([tokens], "u8") }),
    },
    { pooling: w.pick(["sum", "mean"]), ...(w.chance(0.2) && { term: "log-ratio" }) },
  ],
  rowScoreBackward: (w) => [
    w.engine,
    {
      dScore: w.data([2], "f64"),
      tokenWeight: w.data([2], "f64"),
      rowOffsets: w.offsets(rows),
      ...some(w, { mask: w.data([tokens], "u8") }),
    },
    {},
  ],
  groupLoss: (w) => {
    const { kind, ...given } = w.pick([
      { kind: "real", reward: [1, 0, 1, 0] },
      { kind: "real-bce", reward: [1, 0, 1, 0], tau: 0.5 },
      { kind: "real-product", reward: [1, 0, 1, 0] },
      {
        kind: "drpo",
        reward: [1, 0, 1, 0],
        lengths: [3, 1, 2, 4],
        lambda: 0.1,
        maxCompletionLength: 8,
      },
      { kind: "disco", reward: [1, 0, 1, 0], tau: 10 },
      { kind: "reg-grpo", advantage: [1, 0, 1, 0], eps: 1e-4, ddof: 0, skipConstant: true },
      { kind: "dpo", beta: 0.1, labelSmoothing: 0.1 },
      { kind: "ipo", beta: 0.1, denominator: 2 },
    ]);
    const inputs = ["reward", "lengths", "advantage"];
    const part = (of) => Object.fromEntries(Object.entries(given).filter(([name]) => of(name)));
    const data = part((name) => inputs.includes(name));
    if (data.lengths) data.lengths = Int32Array.from(data.lengths);
    return [
      w.engine,
      {
        score: w.data([4]),
        groupOffsets: w.offsets([0, 2, 4]),
        ...data,
        ...some(w, { valid: w.data([4], "u8") }),
      },
      { kind, ...part((name) => !inputs.includes(name)) },
    ];
  },
  preferenceMetrics: () => [[2, 2, 0, 0, 1, 2, 2, 0.5, 0.25, 0], 0.1],
  divergence: (w) => {
    const taught = teacher(w);
    return [w.engine, w.tensor([3, 5]), taught, divergenceOptions(w, taught)];
  },
  divergenceBackward: (w) => [
    w.engine,
    {
      student: w.tensor([3, 5]),
      teacher: { logits: w.tensor([3, 5]) },
      stats: divergence(
        w.engine,
        w.tensor([3, 5]),
        { logits: w.tensor([3, 5]) },
        { kind: "forward" },
      ).stats,
      dDivergence: w.data([3]),
      kind: "forward",
    },
  ],
  gaussianLogProb: (w) => [
    w.engine,
    { value: w.tensor([2, 3]), ...elements(w) },
    some(w, { reduction: "sum" }),
  ],
  gaussianLogProbBackward: (w) => [
    w.engine,
    {
      value: w.tensor([2, 3]),
      mean: w.tensor([2, 3]),
      slope: w.tensor([2], "f64"),
      dLogProb: w.data([2]),
      ...some(w, { mask: w.tensor([2, 3], "u8"), out: w.tensor([2, 3]) }),
    },
  ],
  gaussianKl: (w) => [
    w.engine,
    { refMean: w.tensor([2, 3]), ...elements(w) },
    some(w, { reduction: "mean" }),
  ],
  gaussianKlBackward: (w) => [
    w.engine,
    {
      mean: w.tensor([2, 3]),
      refMean: w.tensor([2, 3]),
      slope: w.tensor([2], "f64"),
      dKl: w.data([2]),
      ...some(w, { mask: w.tensor([2, 3], "u8") }),
    },
  ],
  bernoulli: (w) => [
    w.engine,
    {
      logits: w.data([tokens]),
      actions: w.data([tokens], "u8"),
      rowOffsets: w.offsets(rows),
      ...some(w, { refLogits: w.data([tokens]), mask: w.data([tokens], "u8") }),
    },
    some(w, { temperature: 0.5, entropy: true }),
  ],
  bernoulliBackward: (w) => [
    w.engine,
    {
      logits: w.data([tokens]),
      actions: w.data([tokens], "u8"),
      dLogProb: w.data([tokens]),
      ...some(w, { dEntropy: w.data([tokens]), mask: w.data([tokens], "u8"), temperature: 0.5 }),
      ...(w.chance(0.3) && { refLogits: w.data([tokens]), dKl: w.data([tokens]) }),
    },
  ],
  flowTimes: (w) => [6, ...(w.chance(0.5) ? [3] : [])],
  flowCoefficients: (w) => [schedule(w), noise(w)],
  flowStep: (w) => [
    w.engine,
    {
      x: w.tensor([2, 3]),
      v: w.tensor([2, 3]),
      ...schedule(w),
      ...(w.chance(0.5) ? { noise: w.tensor([2, 3]) } : { next: w.tensor([2, 3]) }),
    },
    { ...noise(w), ...some(w, { reduction: "sum" }) },
  ],
  flowStepBackward: (w) => [
    w.engine,
    {
      next: w.tensor([2, 3]),
      mean: w.tensor([2, 3]),
      slope: w.tensor([2], "f64"),
      vScale: w.data([2]),
      dLogProb: w.data([2]),
      ...some(w, { dMean: w.tensor([2, 3]) }),
    },
  ],
  klHinge: () => [0.3, { beta: 0.1, delta: 0.2 }],
  mixWeights: (w) => [w.engine, w.tensor([6]), w.tensor([6]), 0.5],
};

function pickedNorm(w) {
  const { center, scale, scope } = combination(w, "group-norm");
  return {
    ...(center && { center }),
    ...(scale && { scale }),
    ...(scope && { scope }),
    ...(center === "ema" && { ema: 0.5, emaBlend: 0.5 }),
  };
}

function teacher(w) {
  return w.pick([
    { logits: w.tensor([3, 5]) },
    { topLogits: w.tensor([3, 2]), topIds: w.tensor([3, 2], "i32") },
  ]);
}

function divergenceOptions(w, { topIds }) {
  const kind = w.pick(["forward", "reverse", "mixed", "jsd"]);
  return {
    kind,
    ...(["mixed", "jsd"].includes(kind) && { weight: 0.5 }),
    ...(topIds !== undefined && { support: w.pick(["renormalized", "tail"]) }),
    ...some(w, { temperature: 0.5, mask: w.data([3], "u8") }, 0.3),
  };
}

const elements = (w) => ({
  mean: w.tensor([2, 3]),
  std: w.pick([0.5, w.data([2])]),
  ...some(w, { mask: w.tensor([2, 3], "u8") }),
});

function schedule(w) {
  return w.pick([
    { sigma: 0.8, sigmaNext: 0.5 },
    { sigma: [0.8, 0.5], sigmaNext: [0.5, 0.25] },
    { sigma: Float64Array.of(0.8, 0.5), sigmaNext: Float32Array.of(0.5, 0.25) },
  ]);
}

function noise(w) {
  return { kind: w.pick(["sde", "constant-sde", "cps"]), noiseLevel: w.pick([0.7, 0, [0.7, 0.2]]) };
}
