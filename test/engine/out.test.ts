import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { bernoulli, bernoulliBackward } from "../../src/engine/kernels/bernoulli.js";
import { divergence, divergenceBackward } from "../../src/engine/kernels/divergence.js";
import { flowStep, flowStepBackward } from "../../src/engine/kernels/flowStep.js";
import {
  gaussianKl,
  gaussianKlBackward,
  gaussianLogProb,
  gaussianLogProbBackward,
} from "../../src/engine/kernels/gaussian.js";
import { groupLoss } from "../../src/engine/kernels/groupLoss.js";
import { groupNorm } from "../../src/engine/kernels/groupNorm.js";
import { klEstimate } from "../../src/engine/kernels/kl.js";
import { linearLogProb } from "../../src/engine/kernels/linearLogProb.js";
import { logProb, logProbBackward } from "../../src/engine/kernels/logProb.js";
import { logProbMerge, logProbPartial } from "../../src/engine/kernels/logProbShards.js";
import { rowScore, rowScoreBackward } from "../../src/engine/kernels/rowScore.js";
import { surrogate } from "../../src/engine/kernels/surrogate.js";
import { matmul } from "../../src/engine/nn/matmul.js";
import { Tensor } from "../../src/engine/tensor.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

type Results = Tensor | Readonly<Record<string, Tensor | null>>;
const tensorsOf = (results: object): Tensor[] =>
  results instanceof Tensor
    ? [results]
    : Object.values(results).filter((value) => value instanceof Tensor);
const read = (results: object) => tensorsOf(results).map((tensor) => [...tensor.readSync()]);
const matrix = engine.tensor([0.1, -0.4, 0.7, 1.1, 0.2, -0.3], [2, 3]);
const other = engine.tensor([0.3, 0.4, -0.7, 0.1, 0.9, -1.3], [2, 3]);
const rowOffsets = [0, 2];
const two = [-0.5, -0.7];
const targets = [1, 2];
const stats = logProb(engine, matrix, targets).stats;
const policy = { logProb: two, oldLogProb: [-0.6, -0.6], advantage: [1], rowOffsets };
const kind = { kind: "reverse" } as const;
const teacher = { logits: other };
const [slope, gain] = [engine.tensor([0.5, 0.5], [2], "f64"), engine.tensor([1, 2])];
const weights = { tokenWeight: engine.tensor([1], [1], "f64"), rowOffsets };

/** Every function of a family, with `out` where its results are written to. */
const calls: Record<string, (out?: never) => Results> = {
  logProb: (out) => ({
    ...logProb(engine, matrix, targets, { entropy: true, vocabMean: true, out }),
  }),
  logProbBackward: (out) =>
    logProbBackward(engine, { logits: matrix, targets, stats, dLogProb: two, out }),
  logProbPartial: (out) => logProbPartial(engine, matrix, targets, { vocabStart: 0, out }),
  logProbMerge: (out) => {
    const partial = logProbPartial(engine, matrix, targets, { vocabStart: 0 });
    return { ...logProbMerge(engine, [partial], { vocab: 3, out }) };
  },
  linearLogProb: (out) => ({ ...linearLogProb(engine, matrix, other, [0, 1], { out }) }),
  surrogate: (out) => ({ ...surrogate(engine, policy, { aggregation: "token-mean", out }) }),
  "surrogate with everything": (out) => ({
    ...surrogate(
      engine,
      { ...policy, samplerLogProb: two, entropy: two, ratioScale: [1, 1], ratioBias: [0, 0] },
      { aggregation: "token-mean", mismatch: "token-truncate", entropyCoefficient: 0.1, out },
    ),
  }),
  groupNorm: (out) => ({ ...groupNorm(engine, [1, 2, 4], { groupOffsets: [0, 3], out }) }),
  klEstimate: (out) => ({
    ...klEstimate(
      engine,
      { logProb: two, refLogProb: [-1, -1], rowOffsets },
      { estimator: "k3", out },
    ),
  }),
  divergence: (out) => ({ ...divergence(engine, matrix, teacher, { ...kind, out }) }),
  divergenceBackward: (out) => {
    const forward = divergence(engine, matrix, teacher, kind);
    const args = { student: matrix, teacher, stats: forward.stats, dDivergence: two, ...kind };
    return divergenceBackward(engine, { ...args, out });
  },
  groupLoss: (out) => ({
    ...groupLoss(
      engine,
      { score: [0.4, 0.1], reward: [1, 0], groupOffsets: [0, 2] },
      { kind: "real", out },
    ),
  }),
  rowScore: (out) => ({
    ...rowScore(engine, { logProb: two, rowOffsets }, { pooling: "mean", out }),
  }),
  rowScoreBackward: (out) =>
    rowScoreBackward(engine, { dScore: engine.tensor([2], [1], "f64"), ...weights }, { out }),
  gaussianLogProb: (out) => ({
    ...gaussianLogProb(engine, { value: matrix, mean: other, std: 0.5 }, { out }),
  }),
  gaussianLogProbBackward: (out) =>
    gaussianLogProbBackward(engine, { value: matrix, mean: other, slope, dLogProb: two, out }),
  gaussianKl: (out) => ({
    ...gaussianKl(engine, { mean: matrix, refMean: other, std: 0.5 }, { out }),
  }),
  gaussianKlBackward: (out) =>
    gaussianKlBackward(engine, { mean: matrix, refMean: other, slope, dKl: two, out }),
  flowStep: (out) => {
    const step = { x: matrix, v: other, noise: other, sigma: 0.8, sigmaNext: 0.7 };
    return { ...flowStep(engine, step, { kind: "sde", noiseLevel: 0.7, out }) };
  },
  flowStepBackward: (out) =>
    flowStepBackward(engine, {
      ...{ next: matrix, mean: other, slope, vScale: gain, dLogProb: two, out },
    }),
  bernoulli: (out) => ({
    ...bernoulli(
      engine,
      { logits: two, actions: [1, 0], rowOffsets, refLogits: [0, 1] },
      { entropy: true, out },
    ),
  }),
  bernoulliBackward: (out) =>
    bernoulliBackward(engine, { logits: two, actions: [1, 0], dLogProb: two, out }),
  matmul: (out) => matmul(engine, matrix, other, { transposeB: true, out }),
};

describe.each(Object.entries(calls))("%s", (_, call) => {
  it("writes where it is told to, all that it would have made, and takes no memory for it", () => {
    const made = call();
    const want = read(made);
    for (const tensor of tensorsOf(made)) {
      tensor.write(Array.from({ length: tensor.size }, () => 77));
    }
    const again = engine.scope(() => call(made as never));
    expect(tensorsOf(again).every((tensor, i) => tensor === tensorsOf(made)[i])).toBe(true);
    expect(read(again)).toEqual(want);
    const { live } = engine.memory();
    engine.scope(() => void call(made as never));
    expect(tensorsOf(made).some(({ disposed }) => disposed)).toBe(false);
    expect(engine.memory().live).toBe(live);
  });

  it("refuses another shape or dtype, what is gone, and another engine's", () => {
    const made = call();
    using foreign = new Engine({ device: "cpu" });
    const gone = engine.zeros([2]);
    gone.dispose();
    for (const [name, tensor] of made instanceof Tensor ? [["", made]] : Object.entries(made)) {
      if (!(tensor instanceof Tensor)) continue;
      const given = (t: unknown) => (name === "" ? t : { [name as string]: t }) as never;
      const { shape, dtype } = tensor;
      const label = name === "" ? "out" : `out.${name}`;
      const wrong = dtype === "i32" ? "f32" : "i32";
      expect(refusal(() => call(given(engine.zeros([7, 7, 7, 7], dtype))))).toMatch(
        `ERR_SHAPE: Expected shape [`,
      );
      expect(refusal(() => call(given(engine.zeros(shape, wrong))))).toMatch(
        `ERR_DTYPE: Expected dtype ${dtype} for ${label}`,
      );
      expect(refusal(() => call(given(gone)))).toMatch(`ERR_DISPOSED: `);
      expect(refusal(() => call(given(foreign.zeros(shape, dtype))))).toMatch(`ERR_OPTION: `);
      expect(refusal(() => call(given([1, 2])))).toMatch(
        `ERR_DTYPE: Expected a tensor for ${label}`,
      );
    }
  });
});

describe("results that are given", () => {
  const zeros = (n: number) => engine.zeros([n]);
  const run = (args: object, out: object) =>
    refusal(() =>
      surrogate(engine, { ...policy, ...args } as never, { aggregation: "token-mean", out }),
    );

  it("are not an input, nor a part of its memory", () => {
    const log = engine.tensor(two);
    const message = "ERR_OPTION: Expected memory that the call does not use otherwise for ";
    expect(run({ logProb: log }, { dLogProb: log })).toBe(
      `${message}out.dLogProb but received "that of logProb"`,
    );
    const all = zeros(3);
    const parts = { logProb: all.rows(0, 2) };
    expect(run(parts, { dLogProb: all.rows(1, 3) })).toContain("that of logProb");
    expect(run(parts, { dLogProb: all.rows(0, 2) })).toContain("that of logProb");
    expect(run({ logProb: zeros(4).rows(0, 2) }, { dLogProb: zeros(4).rows(2, 4) })).toBe(
      "nothing thrown",
    );
    const four = zeros(4);
    expect(run({ logProb: four.rows(0, 2) }, { dLogProb: four.rows(2, 4) })).toBe("nothing thrown");
    expect(refusal(() => matmul(engine, matrix, other, { transposeB: true, out: matrix }))).toMatch(
      /^ERR_(SHAPE|OPTION)/,
    );
  });

  it("are not one another", () => {
    const advantage = engine.tensor([1, 2]);
    const same = zeros(2);
    const groups = { groupOffsets: [0, 1, 2], out: { center: same, scale: same } };
    expect(refusal(() => groupNorm(engine, advantage, groups))).toBe(
      "ERR_OPTION: Expected memory that the call does not use otherwise for out.scale " +
        'but received "that of out.center"',
    );
  });

  it("are refused where the call does not make them, and by a name that it does not know", () => {
    expect(run({}, { dEntropy: zeros(2) })).toBe(
      "ERR_OPTION: Expected nothing (the call does not make it) for out.dEntropy " +
        "but received a value of type Tensor",
    );
    expect(run({}, { dEntropy: null })).toBe("nothing thrown");
    expect(run({}, { dLogprob: zeros(2) })).toContain('did you mean "dLogProb"?');
    expect(run({}, 3 as never)).toMatch(/^ERR_OPTION: .* for out /);
  });

  it("may be the logits that a gradient takes the place of, and nothing else of the call", () => {
    const logits = engine.tensor([0.1, -0.4, 0.7, 1.1, 0.2, -0.3], [2, 3]);
    const args = { logits, targets, stats, dLogProb: two };
    const want = read(logProbBackward(engine, args));
    expect(read(logProbBackward(engine, { ...args, out: logits }))).toEqual(want);
    const wide = engine.zeros([3, 3]);
    const shifted = { ...args, logits: wide.rows(0, 2), out: wide.rows(1, 3) };
    expect(refusal(() => logProbBackward(engine, shifted))).toMatch(/^ERR_OPTION: .* for out /);
  });

  it("keep what they were given where the call is refused", () => {
    const dLogProb = engine.tensor([5, 6]);
    expect(run({ advantage: [1, 2, 3] }, { dLogProb })).toMatch(/^ERR_SHAPE/);
    expect([...dLogProb.readSync()]).toEqual([5, 6]);
  });
});
