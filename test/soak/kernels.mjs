// One call of every kernel family, forward and back, on inputs of a given size.

import { adamw, sumSquares } from "../../dist/engine/nn/adamw.js";
import { attention, attentionBackward } from "../../dist/engine/nn/attention.js";
import { add, addBias, cast, fill, scale, sumRows } from "../../dist/engine/nn/elementwise.js";
import { gatherRows, scatterAddRows, scatterRows } from "../../dist/engine/nn/embed.js";
import { matmul } from "../../dist/engine/nn/matmul.js";
import { rmsNorm, rmsNormBackward } from "../../dist/engine/nn/rmsNorm.js";
import { rope } from "../../dist/engine/nn/rope.js";
import { sample } from "../../dist/engine/nn/sample.js";
import { swiglu, swigluBackward } from "../../dist/engine/nn/swiglu.js";
import * as firesteel from "../../dist/index.js";

const { Offsets } = firesteel;

/** Sizes that are used in turn: [tokens, vocabulary, tokens of a row]. */
export const sizes = [
  [1, 2, 1],
  [8, 33, 2],
  [24, 128, 3],
  [48, 17, 8],
  [16, 1000, 4],
  [256, 64, 16],
];

/** Inputs on the engine; they live until `dispose`. */
export function makeInputs(engine, random, [tokens, vocab, length]) {
  const f = (...shape) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return engine.tensor(Float32Array.from(random.normals(size)), shape);
  };
  const negative = (size) => engine.tensor(random.normals(size).map((x) => -Math.abs(x)));
  const ids = (size, end) => Int32Array.from({ length: size }, () => random.integer(end));
  const rows = tokens / length;
  const grouped = Math.max(1, rows >> 1);
  const even = (count, total) =>
    Int32Array.from({ length: count + 1 }, (_, i) => (total * i) / count);
  const i = {
    ...{ tokens, vocab, rows },
    ...{ logits: f(tokens, vocab), teacher: f(tokens, vocab), targets: ids(tokens, vocab) },
    ...{ logProb: negative(tokens), old: negative(tokens), mask: random.mask(tokens, 0.9) },
    ...{
      dTokens: f(tokens),
      advantage: f(rows),
      dRows: f(rows),
      dScore: engine.zeros([rows], "f64"),
      values: f(rows),
    },
    ...{ hidden: f(tokens, 16), weight: f(vocab, 16), gain: f(16), bias: f(16) },
    ...{ positions: ids(tokens, 512), q: f(tokens, 2, 8), k: f(tokens, 1, 8), v: f(tokens, 1, 8) },
    ...{ next: f(rows, 16), state: f(rows, 16), velocity: f(rows, 16), grad: f(tokens, 16) },
    ...{
      m: engine.zeros([tokens, 16]),
      second: engine.zeros([tokens, 16]),
      total: engine.zeros([1], "f64"),
    },
    ...{
      table: f(vocab, 16),
      spare: engine.zeros([tokens, 16]),
      uniform: new Float32Array(tokens),
    },
    edges: Uint8Array.from({ length: tokens }, () => random.integer(2)),
    distinct: Int32Array.from({ length: tokens }, (_, t) => t),
    rowOffsets: new Offsets(engine, even(rows, tokens)),
    groupOffsets: new Offsets(
      engine,
      Int32Array.from([...even(grouped, rows & ~1).slice(0, -1), rows]),
    ),
  };
  const dispose = () => {
    for (const value of Object.values(i)) value?.dispose?.();
  };
  return { ...i, dispose };
}

/**
 * By family: calls on an engine and inputs; what they return are tensors, or objects and arrays of them. Where
 * one takes `out`, it is handed results of an earlier call.
 */
export const kernels = {
  logProb: (e, i, out) => firesteel.logProb(e, i.logits, i.targets, { entropy: true, out }),
  logProbBackward(e, i) {
    const { stats, logProb } = firesteel.logProb(e, i.logits, i.targets);
    const given = { logits: i.logits, targets: i.targets, stats, dLogProb: i.dTokens };
    return [stats, logProb, firesteel.logProbBackward(e, given)];
  },
  logProbShards(e, i) {
    const half = i.vocab >> 1;
    const shard = (begin, end) => {
      const part = e.tensor(new Float32Array(i.tokens * (end - begin)), [i.tokens, end - begin]);
      return [part, firesteel.logProbPartial(e, part, i.targets, { vocabStart: begin })];
    };
    const parts = [shard(0, half), shard(half, i.vocab)];
    const partials = parts.map(([, partial]) => partial);
    return [parts, firesteel.logProbMerge(e, partials, { vocab: i.vocab })];
  },
  linearLogProb: (e, i, out) => firesteel.linearLogProb(e, i.hidden, i.weight, i.targets, { out }),
  linearLogProbBackward(e, i) {
    const { hidden, weight, targets, dTokens: dLogProb } = i;
    const made = firesteel.linearLogProb(e, hidden, weight, targets);
    const given = { hidden, weight, targets, stats: made.stats, dLogProb };
    return [made, firesteel.linearLogProbBackward(e, given)];
  },
  tokenLoss: (e, { logits, targets, old, advantage, rowOffsets, mask }, out) =>
    firesteel.tokenLoss(
      e,
      { logits, targets, oldLogProb: old, advantage, rowOffsets, mask },
      { epsilon: 0.2, aggregation: "token-mean", out },
    ),
  surrogate: (e, { logProb, old, advantage, rowOffsets, mask }, out) =>
    firesteel.surrogate(
      e,
      { logProb, oldLogProb: old, refLogProb: old, advantage, rowOffsets, mask },
      { epsilon: 0.2, beta: 0.1, level: "sequence", aggregation: "seq-mean-token-mean", out },
    ),
  groupNorm: (e, i, out) =>
    firesteel.groupNorm(e, i.values, { groupOffsets: i.groupOffsets, center: "median", out }),
  groupNormByKeys: (e, i) =>
    firesteel.groupNorm(e, i.values, { keys: Array.from({ length: i.rows }, (_, r) => r % 2) }),
  klEstimate: (e, i, out) =>
    firesteel.klEstimate(
      e,
      { logProb: i.logProb, refLogProb: i.old, rowOffsets: i.rowOffsets, mask: i.mask },
      { estimator: "k3", out },
    ),
  rowScore(e, { logProb, old: baseLogProb, rowOffsets, dScore }) {
    const made = firesteel.rowScore(e, { logProb, baseLogProb, rowOffsets }, { pooling: "mean" });
    const given = { dScore, tokenWeight: made.tokenWeight, rowOffsets };
    return [made, firesteel.rowScoreBackward(e, given)];
  },
  groupLoss: (e, i, out) =>
    firesteel.groupLoss(
      e,
      { score: i.values, reward: new Float32Array(i.rows), groupOffsets: i.groupOffsets },
      { kind: "real", out },
    ),
  divergence: (e, i, out) =>
    firesteel.divergence(e, i.logits, { logits: i.teacher }, { kind: "jsd", weight: 0.5, out }),
  divergenceBackward(e, { logits, teacher, dTokens }) {
    const made = firesteel.divergence(e, logits, { logits: teacher }, { kind: "reverse" });
    const given = { student: logits, teacher: { logits: teacher }, kind: "reverse" };
    const back = { ...given, stats: made.stats, dDivergence: dTokens };
    return [made, firesteel.divergenceBackward(e, back)];
  },
  flowStep(e, { state: x, velocity: v, next, dRows: dLogProb }) {
    const noise = { kind: "sde", noiseLevel: 0.7 };
    const made = firesteel.flowStep(e, { x, v, next, sigma: 0.6, sigmaNext: 0.5 }, noise);
    const { mean, slope, vScale } = made;
    return [
      made.std,
      made.logProb,
      mean,
      slope,
      vScale,
      made.next === next ? null : made.next,
      firesteel.flowStepBackward(e, { next, mean, slope, vScale, dLogProb }),
    ];
  },
  gaussianLogProb(e, { state: value, velocity: mean, dRows: dLogProb }) {
    const made = firesteel.gaussianLogProb(e, { value, mean, std: 0.5 });
    const given = { value, mean, slope: made.slope, dLogProb };
    return [made, firesteel.gaussianLogProbBackward(e, given)];
  },
  gaussianKl(e, { state: mean, velocity: refMean, dRows: dKl }) {
    const made = firesteel.gaussianKl(e, { mean, refMean, std: 0.5 });
    return [made, firesteel.gaussianKlBackward(e, { mean, refMean, slope: made.slope, dKl })];
  },
  bernoulli(e, { dTokens, logProb: logits, edges: actions, rowOffsets }) {
    const made = firesteel.bernoulli(e, { logits, actions, rowOffsets });
    const given = { logits, actions, dLogProb: dTokens };
    return [made, firesteel.bernoulliBackward(e, given)];
  },
  matmul: (e, i) => matmul(e, i.hidden, i.weight, { transposeB: true }),
  rmsNorm(e, { hidden: x, gain: weight, grad: dY }) {
    const made = rmsNorm(e, x, weight);
    return [made, rmsNormBackward(e, { x, weight, invRms: made.invRms, dY })];
  },
  attention(e, { q, k, v, rowOffsets }) {
    const made = attention(e, {
      q,
      k,
      v,
      queryOffsets: rowOffsets,
      keyOffsets: rowOffsets,
      stats: true,
    });
    const given = { q, k, v, rowOffsets, out: made.out, stats: made.stats, dOut: q };
    return [made, attentionBackward(e, given)];
  },
  rope: (e, i) => rope(e, i.q, i.positions),
  swiglu: (e, { hidden: gate, grad: up }) => [
    swiglu(e, gate, up),
    swigluBackward(e, { gate, up, dY: gate }),
  ],
  sample: (e, i) => sample(e, i.logits, { uniform: i.uniform }),
  embedding(e, i) {
    const y = gatherRows(e, i.table, i.targets);
    scatterAddRows(e, y, i.targets, i.table);
    scatterRows(e, y, i.distinct, i.spare);
    return y;
  },
  elementwise(e, { hidden, grad, bias, spare }) {
    fill(e, spare, 0.5);
    const sum = add(e, hidden, grad);
    return [sum, addBias(e, sum, bias), sumRows(e, sum), scale(e, 0.5, sum), cast(e, sum, "bf16")];
  },
  adamw(e, { hidden: param, grad, m, second: v, total: gradSquare }) {
    sumSquares(e, grad, gradSquare);
    const rates = { lr: 1e-6, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 };
    adamw(e, { ...rates, tensors: [{ param, grad, m, v }], step: 1, gradSquare, maxGradNorm: 1 });
    return [];
  },
};

/** Every tensor in a call's results. */
export function tensorsOf(made) {
  if (made instanceof firesteel.Tensor) return [made];
  if (typeof made !== "object" || made === null) return [];
  return Object.values(made).flatMap(tensorsOf);
}
