import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { bernoulli, bernoulliBackward } from "../../src/engine/kernels/bernoulli.js";
import { bernoulliTable } from "../../src/engine/kernels/bernoulliTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const base = { logits: [0, 1, -1], actions: [1, 0, 1], rowOffsets: [0, 1, 3] };

describe("bernoulli", () => {
  it("gives what was asked for and nothing else", () => {
    const plain = bernoulli(engine, base);
    expect([plain.entropy, plain.rowEntropy, plain.kl, plain.rowKl]).toEqual([
      null,
      null,
      null,
      null,
    ]);
    expect(plain.rowLogProb.readSync()[0]).toBeCloseTo(-Math.LN2, 7);
    const all = bernoulli(engine, { ...base, refLogits: base.logits }, { entropy: true });
    expect(all.kl!.readSync()).toEqual(new Float32Array(3));
    expect(all.rowEntropy!.shape).toEqual([2]);
  });

  it.each<[string, object, object, RegExp]>([
    ["other actions", { actions: [1, 0] }, {}, /^ERR_SHAPE: .*\[3\] for actions/],
    [
      "actions that are floats",
      { actions: new Float32Array(3) },
      {},
      /^ERR_DTYPE: .* u8 for actions/,
    ],
    [
      "edges beyond the rows",
      { rowOffsets: [0, 2] },
      {},
      /^ERR_SHAPE: .* data of shape \[2\] for logits/,
    ],
    ["rows that descend", { rowOffsets: [0, 3, 1] }, {}, /^ERR_RANGE: .* rowOffsets\[2\]/],
    ["a temperature of 0", {}, { temperature: 0 }, /^ERR_RANGE: .* for temperature/],
    ["a temperature that is none", {}, { temperature: Number.NaN }, /^ERR_RANGE: .* temperature/],
    ["entropy as a number", {}, { entropy: 1 }, /^ERR_OPTION: .* a boolean for entropy/],
    [
      "an unknown input",
      { refLogit: [0, 0, 0] },
      {},
      /^ERR_OPTION: .* \(did you mean "refLogits"\?\)/,
    ],
    [
      "logits in half precision",
      { logits: engine.zeros([3], "bf16") },
      {},
      /^ERR_DTYPE: Expected dtype f32 for logits/,
    ],
  ])("refuses %s", (_, inputs, options, message) => {
    expect(refusal(() => bernoulli(engine, { ...base, ...inputs }, options))).toMatch(message);
  });

  const { rowOffsets: _, ...edges } = base;
  const dLogProb = [1, 1, 1];
  it.each<[string, object, RegExp]>([
    [
      "a KL's gradient without the reference",
      { dKl: [1, 1, 1] },
      /^ERR_OPTION: .* \(dKl is given\) for refLogits/,
    ],
    [
      "a reference that nothing reads",
      { refLogits: [0, 0, 0] },
      /^ERR_OPTION: Expected nothing \(dKl is not given\) for refLogits/,
    ],
    ["upstream of other edges", { dLogProb: [1] }, /^ERR_SHAPE: .* for dLogProb/],
    ["no upstream", { dLogProb: undefined }, /^ERR_DTYPE: .* for dLogProb/],
    ["rows", { rowOffsets: [0, 3] }, /^ERR_OPTION: .* "rowOffsets"/],
  ])("its gradient refuses %s", (_, change, message) => {
    const call = () => bernoulliBackward(engine, { ...edges, dLogProb, ...change });
    expect(refusal(call)).toMatch(message);
  });

  it("has all its outputs in its table", () => {
    expect(bernoulliTable.combinations).toHaveLength(3);
  });
});
