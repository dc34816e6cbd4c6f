import { expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { bernoulli, bernoulliBackward } from "../../src/engine/kernels/bernoulli.js";
import { divergence, divergenceBackward } from "../../src/engine/kernels/divergence.js";
import { flowCoefficients } from "../../src/engine/kernels/flowCoefficients.js";
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
import { logProb, logProbBackward } from "../../src/engine/kernels/logProb.js";
import { logProbMerge, logProbPartial } from "../../src/engine/kernels/logProbShards.js";
import { rowScore, rowScoreBackward } from "../../src/engine/kernels/rowScore.js";
import { surrogate } from "../../src/engine/kernels/surrogate.js";
import { adamw, sumSquares } from "../../src/engine/nn/adamw.js";
import { attention, attentionBackward } from "../../src/engine/nn/attention.js";
import { add, addBias, cast, fill, scale, sumRows } from "../../src/engine/nn/elementwise.js";
import { gatherRows, scatterAddRows, scatterRows } from "../../src/engine/nn/embed.js";
import { matmul } from "../../src/engine/nn/matmul.js";
import { rmsNorm, rmsNormBackward } from "../../src/engine/nn/rmsNorm.js";
import { rope } from "../../src/engine/nn/rope.js";
import { sample } from "../../src/engine/nn/sample.js";
import { swiglu, swigluBackward } from "../../src/engine/nn/swiglu.js";
import { Offsets, Slots } from "../../src/engine/offsets.js";
import { random } from "../../src/nn/random.js";

type Call = (...args: never[]) => unknown;

/**
 * Calls every function of the engine with values of every kind in every place: the only permitted
 * outcomes are a result and a FiresteelError.
 */
it("hostile arguments give results or a FiresteelError, and the engine goes on", () => {
  const { uniform } = random([1, 2]);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(uniform() * from.length)]!;
  const engine = new Engine({ device: "cpu", threads: 2, memoryLimit: 1 << 24, onFault: () => {} });
  using other = new Engine({ device: "cpu" });
  const gone = engine.zeros([2, 3]);
  gone.dispose();
  const detached = new Float32Array(6);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const resizable = new Float32Array(
    Reflect.construct(ArrayBuffer, [24, { maxByteLength: 64 }]) as ArrayBuffer,
  );

  const numbers = [0, 1, 2, 3, -1, 0.5, 1e9, 2 ** 31, 2 ** 53, -0, Number.NaN, Infinity, -Infinity];
  const arrays = () => [
    new Float32Array([1, 2, 3, 4, 5, 6]),
    new Float32Array(0),
    new Float64Array(2),
    new Int32Array([0, 1, 2]),
    new Int32Array([0, 2]),
    new Int32Array([0, 6]),
    new Uint8Array([1, 0]),
    new Uint16Array(6),
    new Float32Array(new SharedArrayBuffer(24)),
    detached,
    resizable,
    [0, 1],
    [0, 2, 1],
    [Number.NaN, "x"],
  ];
  const tensors = [
    engine.zeros([2, 3]),
    engine.zeros([3, 2]),
    engine.zeros([2, 1, 4]),
    engine.zeros([6]),
    engine.zeros([2]),
    engine.zeros([1], "f64"),
    engine.zeros([2, 6], "f64"),
    engine.zeros([3, 2, 6], "f64"),
    engine.zeros([2, 2]),
    engine.zeros([0, 3]),
    engine.tensor([0, 1], [2], "i32"),
    engine.tensor([9, -7], [2], "i32"),
    engine.zeros([2, 3], "bf16"),
    engine.zeros([2], "u8"),
    gone,
    other.zeros([2, 3]),
  ];
  const offsets = [
    new Offsets(engine, [0, 2]),
    new Offsets(engine, [0, 1, 2]),
    new Slots(engine, [1, 0], 2),
  ];
  const words = [
    "f32",
    "mean",
    "group",
    "token-mean",
    "clip",
    "ema",
    "blend",
    "real",
    "dpo",
    "sde",
    "",
    "toString",
    "__proto__",
  ];
  const odd = [
    null,
    undefined,
    true,
    {},
    Symbol("s"),
    10n,
    () => 1,
    new Proxy({}, {}),
    new Date(0),
  ];
  const keys = [
    ..."q k v a b x y out stats scale mask entropy temperature eps ddof center scope logits".split(
      " ",
    ),
    ..."targets dLogProb dEntropy groupOffsets keys valid logProb oldLogProb refLogProb".split(" "),
    ..."advantage tokenAdvantage weight rowOffsets aggregation beta horizon epsilon delta".split(
      " ",
    ),
    ..."queryOffsets keyOffsets keyIndex dOut weight invRms dY gate up base inverse uniform".split(
      " ",
    ),
    ..."greedy param grad m lr beta1 beta2 weightDecay step gradSquare maxGradNorm".split(" "),
    ..."ema emaBlend scopeBlend epsPlacement zeroScale singleton".split(" "),
    ..."kind score reward lengths valid tau dScore tokenWeight baseLogProb pooling term".split(" "),
    ..."v sigma sigmaNext noise next noiseLevel sigmaMax kind value mean std refMean slope".split(
      " ",
    ),
    ..."dKl dMean vScale actions refLogits reduction".split(" "),
    ..."columns vocabMean dVocabMean vocabStart vocab".split(" "),
    ..."student teacher topLogits topIds kind support dDivergence weight logFloor".split(" "),
    ..."transposeA transposeB accumulateInto accumulate device threads klEstimator".split(" "),
  ];
  const value = (depth = 0): unknown => {
    const kind = uniform();
    if (kind < 0.4) return pick(tensors);
    if (kind < 0.55) return pick(arrays());
    if (kind < 0.65) return pick(numbers);
    if (kind < 0.7) return pick(words);
    if (kind < 0.78) return pick(offsets);
    if (kind < 0.85 || depth > 1) return pick(odd);
    return Object.fromEntries(
      Array.from({ length: Math.floor(uniform() * 9) }, () => [pick(keys), value(depth + 1)]),
    );
  };

  const withEngine = [
    logProb,
    logProbBackward,
    logProbPartial,
    logProbMerge,
    groupNorm,
    klEstimate,
    surrogate,
    rowScore,
    rowScoreBackward,
    groupLoss,
    (_: Engine, schedule: never, noise: never) => flowCoefficients(schedule, noise),
    flowStep,
    flowStepBackward,
    gaussianLogProb,
    gaussianLogProbBackward,
    gaussianKl,
    gaussianKlBackward,
    bernoulli,
    bernoulliBackward,
    divergence,
    divergenceBackward,
    matmul,
    attention,
    attentionBackward,
    rmsNorm,
    rmsNormBackward,
    rope,
    gatherRows,
    scatterRows,
    scatterAddRows,
    swiglu,
    swigluBackward,
    add,
    addBias,
    sumRows,
    scale,
    fill,
    cast,
    sample,
    sumSquares,
    adamw,
  ] as unknown as Call[];
  const methods = ["tensor", "zeros", "empty"];
  const ofTensor = ["rows", "view", "readSync", "write"];

  let refused = 0;
  for (let i = 0; i < 20_000; ++i) {
    const args = Array.from({ length: 1 + Math.floor(uniform() * 4) }, () => value());
    try {
      engine.scope(() => {
        const which = uniform();
        if (which < 0.6)
          return void (pick(withEngine) as (...a: unknown[]) => unknown)(engine, ...args);
        const target = which < 0.9 ? engine : pick(tensors);
        const method = pick(which < 0.9 ? methods : ofTensor);
        (target as unknown as Record<string, (...a: unknown[]) => unknown>)[method]!(...args);
      });
    } catch (error) {
      if (!(error instanceof FiresteelError)) throw error;
      ++refused;
    }
  }
  expect(refused).toBeGreaterThan(10_000);
  expect([...engine.tensor([1, 2]).readSync()]).toEqual([1, 2]);
  engine.dispose();
});
