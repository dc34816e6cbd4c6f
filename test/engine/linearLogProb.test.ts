import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import {
  type LinearLogProbBackwardInputs,
  linearLogProb,
  linearLogProbBackward,
} from "../../src/engine/kernels/linearLogProb.js";
import {
  type LinearLogProbShape,
  linearLogProbMemory,
} from "../../src/engine/kernels/linearLogProbMemory.js";
import { linearLogProbTable } from "../../src/engine/kernels/linearLogProbTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const zeros = (...shape: number[]) => engine.zeros(shape);
const head = { hidden: zeros(2, 4), weight: zeros(3, 4), targets: [0, 2] };
const above = { stats: zeros(2, 2), dLogProb: [1, 1] };

describe("linearLogProb", () => {
  it("scores targets without logits", () => {
    const { hidden, weight, targets } = head;
    const { logProb, entropy, stats } = linearLogProb(engine, hidden, weight, targets);
    expect([...logProb.readSync()]).toEqual([Math.fround(-Math.log(3)), Math.fround(-Math.log(3))]);
    expect(entropy).toBeNull();
    expect(stats.shape).toEqual([2, 2]);
  });

  it("takes the operands that its table allows and refuses the others with the reason", () => {
    for (const { choices, refusal: why } of linearLogProbTable.combinations) {
      const hidden = engine.zeros([2, 4], choices.hidden as "f32");
      const weight = engine.zeros([3, 4], choices.weight as "f32");
      const said = refusal(() => linearLogProb(engine, hidden, weight, [0, 1]));
      expect(said).toBe(
        why === null
          ? "nothing thrown"
          : `ERR_DTYPE: hidden: "${choices.hidden}" with weight: "${choices.weight}" is refused: ` +
              `${why.reason} (nearest: ${why.nearest})`,
      );
    }
  });

  const large = { hidden: zeros(300, 1), weight: zeros(5000, 1), targets: new Int32Array(300) };
  it.each<[string, object, RegExp]>([
    ["another width", { weight: zeros(3, 5) }, /^ERR_SHAPE: .*\[any, 4\] for weight /],
    ["a vector", { hidden: zeros(4) }, /^ERR_SHAPE: .* for hidden /],
    ["an empty vocabulary", { weight: zeros(0, 4) }, /^ERR_RANGE: .*weight.shape\[0\] \(vocab/],
    ["states of nothing", { hidden: zeros(2, 0), weight: zeros(3, 0) }, /^ERR_RANGE: .*\(width\)/],
    ["integers", { hidden: engine.zeros([2, 4], "i32") }, /^ERR_DTYPE: .* for hidden /],
    ["too few targets", { targets: [1] }, /^ERR_SHAPE: .* for targets /],
    ["a mask of another length", { mask: [1, 0, 1] }, /^ERR_SHAPE: .* for mask /],
    ["temperature NaN", { temperature: Number.NaN }, /^ERR_RANGE: .* for temperature/],
    ["temperature 0", { temperature: 0 }, /^ERR_RANGE: .* for temperature/],
    ["a temperature of one row", { temperature: [1] }, /^ERR_SHAPE: .* for temperature/],
    ["temperature 0 in a row", { temperature: [1, 0] }, /^ERR_RANGE: .* for temperature\[1\]/],
    ["half a byte", { chunkBytes: 1e6 + 0.5 }, /^ERR_RANGE: .* for chunkBytes/],
    ["chunks of NaN", { chunkBytes: Number.NaN }, /^ERR_RANGE: .* for chunkBytes/],
    ["less than one logit a row", { chunkBytes: 23 }, /^ERR_RANGE: .*\[24, \d+\] for chunkBytes/],
    ["less than a tile", { ...large, chunkBytes: 262143 }, /\[262144, \d+\] for chunkBytes/],
    ["a name that is none", { chunkbytes: 100 }, /did you mean "chunkBytes"/],
    ["an entropy that is no boolean", { entropy: 1 }, /^ERR_OPTION: .* for entropy/],
  ])("refuses %s", (_, change, message) => {
    const { hidden, weight, targets, ...options } = { ...head, ...change };
    const call = () => linearLogProb(engine, hidden, weight, targets, options);
    expect(refusal(call)).toMatch(message);
  });

  it("refuses tensors that are disposed or another engine's", () => {
    const gone = zeros(3, 4);
    gone.dispose();
    const call = (weight: typeof gone) => linearLogProb(engine, head.hidden, weight, [0, 1]);
    expect(refusal(() => call(gone))).toMatch(/^ERR_DISPOSED: .* weight/);
    const other = new Engine({ device: "cpu", threads: 1 });
    expect(refusal(() => call(other.zeros([3, 4])))).toMatch(/^ERR_OPTION: .* weight/);
    other.dispose();
  });
});

describe("linearLogProbBackward", () => {
  const args: LinearLogProbBackwardInputs = { ...head, ...above };
  it.each<[string, object, RegExp]>([
    ["statistics of another batch", { stats: zeros(3, 2) }, /^ERR_SHAPE: .* for stats /],
    ["nothing from above", { dLogProb: null }, /^ERR_OPTION: .*dLogProb, dEntropy or dVocabMean/],
    ["dVocabMean alone", { dVocabMean: [1, 1] }, /^ERR_OPTION: .*dVocabMean is given.* vocabMean/],
    [
      "dEntropy without entropy",
      { dEntropy: [1, 1] },
      /^ERR_OPTION: .*dEntropy is given.* entropy/,
    ],
    ["entropy without dEntropy", { entropy: [1, 1] }, /^ERR_OPTION: .*dEntropy is not given/],
    ["sums into nothing", { accumulate: true }, /^ERR_OPTION: .*accumulate is true.* for dHidden/],
    [
      "a sum of half the gradients",
      { accumulate: true, dHidden: zeros(2, 4) },
      /^ERR_OPTION: .*or null \(accumulate is true\) for dWeight/,
    ],
    ["an array to write to", { dHidden: new Float32Array(8) }, /^ERR_DTYPE: .* for dHidden/],
    ["gradients of another shape", { dWeight: zeros(4, 3) }, /^ERR_SHAPE: .* for dWeight/],
    [
      "gradients of another dtype",
      { dWeight: engine.zeros([3, 4], "bf16") },
      /^ERR_DTYPE: .* for dWeight/,
    ],
    ["its input as output", { dHidden: head.hidden }, /^ERR_OPTION: .* for dHidden/],
    ["a chunk of nothing", { chunkBytes: 0 }, /^ERR_RANGE: .* for chunkBytes/],
    ["an option of the forward pass", { out: zeros(2, 4) }, /^ERR_OPTION: .*"out"/],
  ])("refuses %s", (_, change, message) => {
    expect(refusal(() => linearLogProbBackward(engine, { ...args, ...change }))).toMatch(message);
  });

  it("refuses one tensor for both gradients", () => {
    const square = zeros(2, 4);
    const same = { ...args, weight: zeros(2, 4), dHidden: square, dWeight: square };
    expect(refusal(() => linearLogProbBackward(engine, same))).toMatch(/^ERR_OPTION: .* dWeight/);
  });

  it("writes where it is told to, and nothing for a frozen head", () => {
    const dHidden = zeros(2, 4);
    const got = linearLogProbBackward(engine, { ...args, dHidden, dWeight: null });
    expect(got).toEqual({ dHidden, dWeight: null });
    expect(got.dHidden).toBe(dHidden);
  });
});

describe("linearLogProbMemory", () => {
  const shape: LinearLogProbShape = {
    ...{ tokens: 1024, vocab: 151_936, hidden: 896, dtype: "f32", device: "cpu" },
  };

  it("stays below 64 MiB by default, where all logits would take 594", () => {
    for (const dtype of ["f32", "bf16", "f16"] as const) {
      const { forward, backward } = linearLogProbMemory({ ...shape, dtype });
      expect(forward).toBeLessThanOrEqual(2 ** 26);
      expect(backward).toBeLessThanOrEqual(2 ** 26);
    }
  });

  it("grows with neither T nor V beyond the chunk", () => {
    const { forward, backward } = linearLogProbMemory(shape);
    const many = linearLogProbMemory({ ...shape, tokens: 2 ** 31 - 1, vocab: 2 ** 20 });
    expect(many.forward).toBeLessThanOrEqual(1.5 * forward);
    expect(many.backward).toBeLessThanOrEqual(1.5 * backward);
  });

  it.each<[object, RegExp]>([
    [{ tokens: -1 }, /^ERR_RANGE: .* for tokens/],
    [{ vocab: 0 }, /^ERR_RANGE: .* for vocab/],
    [{ hidden: 2 ** 21 }, /^ERR_RANGE: .* for hidden/],
    [{ dtype: "f64" }, /^ERR_OPTION: .* for dtype/],
    [{ chunkBytes: 4 }, /^ERR_RANGE: .*\[262144, \d+\] for chunkBytes/],
    [{ device: "gpu" }, /^ERR_OPTION: .* for device/],
    [{ rows: 3 }, /^ERR_OPTION: .*"rows"/],
  ])("refuses %o", (change, message) => {
    expect(refusal(() => linearLogProbMemory({ ...shape, ...change }))).toMatch(message);
  });
});
