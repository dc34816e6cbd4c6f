import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { adamw, sumSquares } from "../../src/engine/nn/adamw.js";
import { attention, attentionBackward } from "../../src/engine/nn/attention.js";
import { add, addBias, cast, fill, scale, sumRows } from "../../src/engine/nn/elementwise.js";
import { gatherRows, scatterAddRows, scatterRows } from "../../src/engine/nn/embed.js";
import { matmul } from "../../src/engine/nn/matmul.js";
import { rmsNorm, rmsNormBackward } from "../../src/engine/nn/rmsNorm.js";
import { rope } from "../../src/engine/nn/rope.js";
import { sample } from "../../src/engine/nn/sample.js";
import { swiglu, swigluBackward } from "../../src/engine/nn/swiglu.js";
import { Slots } from "../../src/engine/offsets.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const zeros = (...shape: number[]) => engine.zeros(shape);

describe("matmul", () => {
  it("multiplies every combination of layouts, and adds where asked", () => {
    const a = engine.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const aAcross = engine.tensor([1, 4, 2, 5, 3, 6], [3, 2]);
    const b = engine.tensor([1, 0, 2, 1, 0, 3], [3, 2]);
    const bAcross = engine.tensor([1, 2, 0, 0, 1, 3], [2, 3]);
    const product = new Float32Array([5, 11, 14, 23]);
    expect(matmul(engine, a, b).readSync()).toEqual(product);
    expect(matmul(engine, aAcross, b, { transposeA: true }).readSync()).toEqual(product);
    expect(matmul(engine, a, bAcross, { transposeB: true }).readSync()).toEqual(product);
    const sum = engine.tensor([1, 1, 1, 1], [2, 2]);
    const how = { transposeA: true, transposeB: true, accumulateInto: sum };
    expect(matmul(engine, aAcross, bAcross, how)).toBe(sum);
    expect(sum.readSync()).toEqual(product.map((x) => x + 1));
  });

  it("takes sizes of 0", () => {
    expect(matmul(engine, zeros(0, 3), zeros(3, 2)).shape).toEqual([0, 2]);
    expect(matmul(engine, zeros(2, 0), zeros(0, 2)).readSync()).toEqual(new Float32Array(4));
  });

  it("names what does not fit", () => {
    expect(refusal(() => matmul(engine, zeros(2, 3), zeros(2, 3)))).toBe(
      'ERR_SHAPE: Expected shape [3, any] for b but received "[2, 3]"',
    );
    expect(refusal(() => matmul(engine, zeros(6), zeros(2, 3)))).toMatch(/^ERR_SHAPE: .* for a /);
    const square = zeros(2, 2);
    expect(refusal(() => matmul(engine, square, zeros(2, 2), { accumulateInto: square }))).toMatch(
      /^ERR_OPTION: .* accumulateInto /,
    );
    expect(refusal(() => matmul(engine, square, engine.zeros([2, 2], "i32")))).toMatch(
      /^ERR_DTYPE: .* for b /,
    );
    expect(refusal(() => matmul(engine, square, square, { transposeb: true } as never))).toMatch(
      /did you mean "transposeB"/,
    );
  });
});

describe("attention", () => {
  const base = {
    q: zeros(3, 4, 2),
    k: zeros(3, 2, 2),
    v: zeros(3, 2, 2),
    queryOffsets: [0, 1, 3],
    keyOffsets: [0, 1, 3],
  };

  it("gives uniform weights for equal scores, over the keys seen", () => {
    const v = engine.tensor([7, 1, 3], [3, 1, 1]);
    const equal = { ...base, q: zeros(3, 1, 1), k: zeros(3, 1, 1), v };
    const { out, stats } = attention(engine, { ...equal, stats: true });
    expect(out.readSync()).toEqual(new Float32Array([7, 1, 2]));
    expect(stats!.readSync()).toEqual(new Float32Array([0, 1, 0, 1, 0, 2]));
    const keyIndex = [2, 0, 1];
    expect(attention(engine, { ...equal, keyIndex }).out.readSync()).toEqual(
      new Float32Array([3, 7, 4]),
    );
  });

  it.each([
    [
      "key heads that do not divide",
      { k: zeros(3, 3, 2) },
      /^ERR_SHAPE: Expected a divisor of 4 for k.shape\[1\]/,
    ],
    ["values of another head", { v: zeros(3, 2, 1) }, /^ERR_SHAPE: .* for v /],
    [
      "queries beyond the tokens",
      { queryOffsets: [0, 1, 4] },
      /^ERR_SHAPE: .* end at 3 for queryOffsets/,
    ],
    ["another number of rows", { keyOffsets: [0, 3] }, /^ERR_SHAPE: .* 2 rows for keyOffsets/],
    [
      "more queries than keys",
      { queryOffsets: [0, 2, 3] },
      /^ERR_SHAPE: .* at most 1 queries .* for queryOffsets of row 0/,
    ],
    ["offsets that descend", { queryOffsets: [0, 2, 1] }, /^ERR_RANGE: .* queryOffsets\[2\]/],
    ["a slot that is not there", { keyIndex: [0, 1, 3] }, /^ERR_RANGE: .* keyIndex\[2\]/],
    ["too few slots", { keyIndex: [0, 1] }, /^ERR_SHAPE: .* end at 2 for keyOffsets/],
    [
      "slots made for another cache",
      { keyIndex: new Slots(engine, [0, 1, 2], 9) },
      /^ERR_RANGE: .* slots below 3 for keyIndex/,
    ],
    ["a scale that is no number", { scale: Number.NaN }, /^ERR_RANGE: .* for scale/],
    ["a head that is too large", { q: zeros(3, 4, 257) }, /^ERR_RANGE: .*head dimension/],
  ])("refuses %s", (_, change, message) => {
    expect(refusal(() => attention(engine, { ...base, ...change }))).toMatch(message);
  });

  it("differentiates only over the batch's own tokens", () => {
    const args = { q: base.q, k: zeros(4, 2, 2), v: zeros(4, 2, 2), rowOffsets: [0, 3] };
    const rest = { out: base.q, stats: zeros(3, 4, 2), dOut: base.q };
    expect(refusal(() => attentionBackward(engine, { ...args, ...rest }))).toMatch(
      /^ERR_SHAPE: Expected 3 tokens, as q has for k but received 4/,
    );
  });
});

describe("the other operations", () => {
  it("take plain data as well as tensors", () => {
    expect(add(engine, [1, 2], new Float32Array([3, 4])).readSync()).toEqual(
      new Float32Array([4, 6]),
    );
    expect(addBias(engine, engine.tensor([1, 2, 3, 4], [2, 2]), [10, 20]).readSync()).toEqual(
      new Float32Array([11, 22, 13, 24]),
    );
    expect(gatherRows(engine, engine.tensor([1, 2, 3, 4], [2, 2]), [1, 1]).readSync()).toEqual(
      new Float32Array([3, 4, 3, 4]),
    );
  });

  it("work on rows of any further shape", () => {
    const table = engine.tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]);
    expect(gatherRows(engine, table, [1]).shape).toEqual([1, 2, 2]);
    scatterRows(engine, engine.tensor([0, 0, 0, 0], [1, 2, 2]), [0], table);
    scatterAddRows(engine, engine.tensor([1, 1, 1, 1], [1, 2, 2]), [1], table);
    expect(table.readSync()).toEqual(new Float32Array([0, 0, 0, 0, 6, 7, 8, 9]));
    const { y, invRms } = rmsNorm(engine, table, [1, 1]);
    expect([y.shape, invRms.shape]).toEqual([[2, 2, 2], [4]]);
  });

  it("write where they are told to", () => {
    const x = engine.tensor([1, 2, 3]);
    expect(add(engine, x, x, { out: x })).toBe(x);
    scale(engine, 10, [1, 1, 1], { out: x, accumulate: true });
    expect(x.readSync()).toEqual(new Float32Array([12, 14, 16]));
    fill(engine, x, -1);
    expect(x.readSync()).toEqual(new Float32Array([-1, -1, -1]));
  });

  it("report rows that they could not use", () => {
    const faults: string[] = [];
    const own = new Engine({
      device: "cpu",
      threads: 1,
      onFault: ({ call, kind, count, firstRow }) =>
        faults.push(`${call} ${kind} ${count} ${firstRow}`),
    });
    const table = own.tensor([1, 2], [2, 1]);
    expect(gatherRows(own, table, [0, 2]).readSync()).toEqual(new Float32Array([1, Number.NaN]));
    const logits = own.tensor([Number.NaN, 0, 0, 1], [2, 2]);
    expect(sample(own, logits, { greedy: true }).readSync()).toEqual(new Int32Array([-1, 1]));
    expect(faults).toEqual(["gather_rows id-out-of-range 1 1", "sample not-a-number 1 0"]);
    own.dispose();
  });

  const x = zeros(2, 3);
  const state = { param: x, grad: x, m: zeros(2, 3), v: zeros(2, 3) };
  const tensors = [state];
  const half = engine.zeros([2, 3], "bf16");
  const rates = { lr: 1, beta1: 0.9, beta2: 0.9, eps: 1e-8, weightDecay: 0, step: 1 };
  it.each<[string, () => unknown, RegExp]>([
    ["add", () => add(engine, x, zeros(3, 2)), /^ERR_SHAPE: .*\[2, 3\] for b /],
    ["addBias", () => addBias(engine, x, zeros(2)), /^ERR_SHAPE: .*\[any, 2\] for x /],
    ["sumRows", () => sumRows(engine, zeros(3)), /^ERR_SHAPE/],
    ["scale", () => scale(engine, Number.NaN, x), /^ERR_RANGE: .* for factor/],
    ["scale without out", () => scale(engine, 1, x, { accumulate: true }), /^ERR_OPTION: .* out /],
    ["fill", () => fill(engine, x, "1" as never), /^ERR_RANGE: .* for value/],
    ["cast", () => cast(engine, x, "i32" as never), /^ERR_OPTION: .* for dtype/],
    ["gatherRows", () => gatherRows(engine, zeros(3), [0]), /^ERR_SHAPE: .* for table/],
    ["scatterRows", () => scatterRows(engine, x, [0], zeros(4, 3)), /^ERR_SHAPE: .* for ids/],
    ["scatterAddRows", () => scatterAddRows(engine, x, [0, 1], zeros(4, 2)), /^ERR_SHAPE: .* dY /],
    ["rmsNorm", () => rmsNorm(engine, x, zeros(2)), /^ERR_SHAPE: .* last dimension of 2 for x/],
    ["rmsNorm of nothing", () => rmsNorm(engine, zeros(2, 0), zeros(0)), /^ERR_SHAPE/],
    ["rmsNorm eps", () => rmsNorm(engine, x, zeros(3), { eps: -1 }), /^ERR_RANGE: .* for eps/],
    [
      "rmsNormBackward",
      () => rmsNormBackward(engine, { x, weight: zeros(3), invRms: zeros(3), dY: x }),
      /^ERR_SHAPE: .*\[2\] for invRms/,
    ],
    ["rope of odd heads", () => rope(engine, zeros(1, 1, 3), [0]), /^ERR_SHAPE: .* even number/],
    ["rope base", () => rope(engine, zeros(1, 1, 2), [0], { base: 0.5 }), /^ERR_RANGE: .* base/],
    ["rope positions", () => rope(engine, zeros(2, 1, 2), [0]), /^ERR_SHAPE: .* for positions/],
    ["swiglu", () => swiglu(engine, x, zeros(6)), /^ERR_SHAPE: .* for up/],
    [
      "swigluBackward",
      () => swigluBackward(engine, { gate: x, up: x, dY: zeros(6) }),
      /^ERR_SHAPE: .* for dY/,
    ],
    ["sample without u", () => sample(engine, x, {}), /^ERR_OPTION: .* for uniform/],
    ["greedy with u", () => sample(engine, x, { greedy: true, uniform: [0, 0] }), /^ERR_OPTION/],
    ["sample of nothing", () => sample(engine, zeros(1, 0), { greedy: true }), /^ERR_RANGE/],
    ["sumSquares", () => sumSquares(engine, x, zeros(1)), /^ERR_DTYPE: .* f64 for total/],
    ["adamw step", () => adamw(engine, { tensors, ...rates, step: 0 }), /^ERR_RANGE: .* for step/],
    ["adamw beta", () => adamw(engine, { tensors, ...rates, beta2: 1 }), /^ERR_RANGE: .* beta2/],
    [
      "adamw half clipped",
      () => adamw(engine, { tensors, ...rates, maxGradNorm: 1 }),
      /^ERR_OPTION: .* for maxGradNorm/,
    ],
    [
      "adamw shapes",
      () => adamw(engine, { tensors: [state, { ...state, m: zeros(6) }], ...rates }),
      /^ERR_SHAPE: .* for tensors\[1\].m /,
    ],
    [
      "adamw without masters",
      () => adamw(engine, { tensors: [{ ...state, param: half }], ...rates }),
      /^ERR_OPTION: Expected a tensor for tensors\[0\].master /,
    ],
    [
      "adamw with a master too many",
      () => adamw(engine, { tensors: [{ ...state, master: x }], ...rates }),
      /^ERR_OPTION: Expected nothing .* for tensors\[0\].master /,
    ],
    [
      "adamw of two types",
      () => adamw(engine, { tensors: [state, { ...state, param: half, master: x }], ...rates }),
      /^ERR_DTYPE: .* f32 for tensors\[1\].param /,
    ],
    ["add of two types", () => add(engine, x, half), /^ERR_DTYPE: Expected dtype f32 for b /],
    [
      "add into another type",
      () => add(engine, half, half, { out: x }),
      /^ERR_DTYPE: .* bf16 for out/,
    ],
    [
      "scatterAddRows into bf16",
      () => scatterAddRows(engine, x, [0, 1], half),
      /^ERR_DTYPE: .* dTable/,
    ],
    [
      "rmsNorm residual",
      () => rmsNorm(engine, x, zeros(3), { residual: half }),
      /^ERR_DTYPE: .* f32 for residual/,
    ],
    ["matmul f16 by f32", () => matmul(engine, half, x), /^ERR_DTYPE: .* bf16 for b /],
    [
      "matmul into bf16",
      () => matmul(engine, zeros(1, 2), x, { dtype: "bf16", accumulateInto: zeros(1, 3) }),
      /^ERR_OPTION: .* for dtype/,
    ],
  ])("refuse what does not fit: %s", (_, call, message) => {
    expect(refusal(call)).toMatch(message);
  });

  it("keep a disposed tensor out", () => {
    const gone = zeros(2);
    gone.dispose();
    expect(refusal(() => add(engine, gone, [1, 2]))).toMatch(/^ERR_DISPOSED: .* for a /);
  });
});
