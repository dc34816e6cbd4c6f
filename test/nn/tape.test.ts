import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { cast } from "../../src/engine/nn/elementwise.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { Parameter } from "../../src/nn/parameter.js";
import { Tape } from "../../src/nn/tape.js";

const engine = new Engine();
afterAll(() => engine.dispose());

let before: number;
beforeEach(() => {
  before = engine.memory().live;
});

/** w [2, 3], x [2, 3]: y = x w^T [2, 2]. */
function linear() {
  const weight = new Parameter("weight", engine.tensor([1, 2, 3, 4, 5, 6], [2, 3]));
  const x = engine.tensor([1, 0, -1, 2, 1, 0], [2, 3]);
  const dY = engine.tensor([1, 2, 3, 4], [2, 2]);
  const dispose = () => {
    weight.dispose();
    x.dispose();
    dY.dispose();
  };
  return { weight, x, dY, dispose };
}

function copy(tensor: Tensor): Tensor {
  return engine.tensor(tensor.readSync(), tensor.shape);
}

function narrow(values: readonly number[], shape: readonly number[]): Tensor {
  const wide = engine.tensor(values, shape);
  try {
    return cast(engine, wide, "bf16");
  } finally {
    wide.dispose();
  }
}

const dWeight = [1 * 1 + 3 * 2, 3, -1, 2 * 1 + 4 * 2, 4, -2];

describe("Tape", () => {
  it("adds to the gradient of a parameter with every backward pass", () => {
    const { weight, x, dY, dispose } = linear();
    for (let pass = 1; pass <= 2; ++pass) {
      const tape = new Tape(engine);
      const y = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
      expect([...y.value.readSync()]).toEqual([-2, -2, 4, 13]);
      tape.backward([[y, dY]]);
      expect([...weight.grad.readSync()]).toEqual(dWeight.map((d) => d * pass));
    }
    dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("adds a residual and normalises in one pass, whichever of the two is used", () => {
    const x = engine.tensor([1, -2, 3, 0.5, 4, -1], [2, 3]);
    const residual = engine.tensor([2, 1, -1, 3, 0.25, 2], [2, 3]);
    const dY = engine.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    const dSum = engine.tensor([-1, 1, 2, -2, 3, 1], [2, 3]);
    const run = (fused: boolean, used: readonly ("y" | "sum")[]) => {
      const [a, b] = [new Parameter("a", copy(x)), new Parameter("b", copy(residual))];
      const weight = new Parameter("weight", engine.tensor([1, 2, -1]));
      const tape = new Tape(engine);
      const [left, right, w] = [a, b, weight].map((one) => tape.parameter(one));
      const sum = fused ? null : tape.add(left!, right!);
      const out =
        sum === null
          ? tape.addRmsNorm(left!, right!, w!, 1e-5)
          : { sum, y: tape.rmsNorm(sum, w!, 1e-5) };
      const results = [out.sum.value.readSync(), out.y.value.readSync()];
      tape.backward(used.map((name) => [out[name], name === "y" ? dY : dSum] as const));
      results.push(...[a, b, weight].map(({ grad }) => grad.readSync()));
      for (const one of [a, b, weight]) one.dispose();
      return results;
    };
    for (const used of [["y"], ["sum"], ["y", "sum"]] as const) {
      expect(run(true, used)).toEqual(run(false, used));
    }
    for (const tensor of [x, residual, dY, dSum]) tensor.dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("keeps gradients of bf16 values in bf16, and of their parameters in float32", () => {
    const weight = new Parameter("weight", narrow([1, 2, 3, 4, 5, 6], [2, 3]));
    const x = narrow([1, 0, -1, 2, 1, 0], [2, 3]);
    const tape = new Tape(engine);
    const hidden = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
    expect(hidden.value.dtype).toBe("bf16");
    const logits = tape.matmul(hidden, tape.parameter(weight), { dtype: "f32" });
    expect([...logits.value.readSync()]).toEqual([-10, -14, -18, 56, 73, 90]);
    const d = engine.tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    tape.backward([[logits, d]]);
    // hidden [[-2, -2], [4, 13]] and its gradient [[14, 32], [32, 77]].
    const direct = [14, 16, 18, 50, 61, 72];
    const through = [1 * 14 + 2 * 32, 32, -14, 32 + 2 * 77, 77, -32];
    expect(weight.grad.dtype).toBe("f32");
    expect([...weight.grad.readSync()]).toEqual(direct.map((value, i) => value + through[i]!));
    for (const one of [weight, x, d]) one.dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("differentiates the plain product a b too", () => {
    const a = new Parameter("a", engine.tensor([1, 2, 3, 4], [2, 2]));
    const b = new Parameter("b", engine.tensor([5, 6, 7, 8], [2, 2]));
    const d = engine.tensor([1, 0, 2, -1], [2, 2]);
    const tape = new Tape(engine);
    tape.backward([[tape.matmul(tape.parameter(a), tape.parameter(b)), d]]);
    expect([...a.grad.readSync()]).toEqual([5, 7, 4, 6]);
    expect([...b.grad.readSync()]).toEqual([7, -3, 10, -4]);
  });

  it("adds up what a value contributes on several ways, and leaves the given gradient alone", () => {
    const { weight, x, dY, dispose } = linear();
    const tape = new Tape(engine);
    const y = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
    const sum = tape.add(tape.add(y, y), tape.view(y, [2, 2]));
    tape.backward([
      [sum, dY],
      [y, dY],
    ]);
    expect([...weight.grad.readSync()]).toEqual(dWeight.map((d) => d * 4));
    expect([...dY.readSync()]).toEqual([1, 2, 3, 4]);
    dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("gathers rows more than once, each with its gradient", () => {
    const table = new Parameter("table", engine.tensor([1, 2, 3, 4], [2, 2]));
    const ids = engine.tensor(Int32Array.of(1, 0, 1));
    const tape = new Tape(engine);
    const y = tape.rows(tape.parameter(table), ids);
    expect([...y.value.readSync()]).toEqual([3, 4, 1, 2, 3, 4]);
    tape.backward([[y, engine.tensor([1, 2, 3, 4, 5, 6], [3, 2])]]);
    expect([...table.grad.readSync()]).toEqual([3, 4, 6, 8]);
  });

  it("differentiates log-probs and entropy of the same logits, and logits that have two readers", () => {
    const logits = new Parameter("logits", engine.tensor([0.5, -1, 2, 0, 1, -0.5], [2, 3]));
    const [first, second] = [Int32Array.of(0, 2), Int32Array.of(1, 1)].map((t) => engine.tensor(t));
    const ones = engine.tensor([1, 1]);
    const gradient = (which: "both" | "first" | "second") => {
      const zero = engine.zeros([2, 3]);
      const tape = new Tape(engine);
      const z = tape.add(tape.parameter(logits), tape.constant(zero));
      const a = tape.logProb(z, first!, { entropy: true });
      const b = tape.logProb(z, second!);
      logits.grad.write(new Float32Array(6));
      const seeds = { first: [[a.entropy!, ones]], second: [[b.logProb, ones]] } as const;
      tape.backward(which === "both" ? [...seeds.first, ...seeds.second] : seeds[which]);
      return [...logits.grad.readSync()];
    };
    const both = gradient("both");
    const [a, b] = [gradient("first"), gradient("second")];
    // One float32 addition.
    for (let i = 0; i < 6; ++i) expect(both[i]).toBeCloseTo(a[i]! + b[i]!, 6);
    expect(a.some((value) => Math.abs(value) > 0.05)).toBe(true);
  });

  it("frees everything when it is disposed without a backward pass", () => {
    const { weight, x, dispose } = linear();
    const tape = new Tape(engine);
    const y = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
    tape.rmsNorm(y, tape.constant(tape.own(engine.tensor([1, 1]))), 1e-6);
    tape.dispose();
    expect(y.value.disposed).toBe(true);
    dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("without gradients keeps only the result of a scope", () => {
    const { weight, x, dispose } = linear();
    const tape = new Tape(engine, { grad: false });
    let inner: { disposed: boolean } | null = null;
    const outer = tape.scope(() => {
      const y = tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
      inner = y.value;
      return tape.add(y, y);
    });
    expect(inner!.disposed).toBe(true);
    expect([...outer.value.readSync()]).toEqual([-4, -4, 8, 26]);
    const kept = tape.release(outer);
    tape.dispose();
    expect(kept.disposed).toBe(false);
    kept.dispose();
    dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("is not undone by the scope it is used in", () => {
    const { weight, x, dY, dispose } = linear();
    const tape = new Tape(engine);
    const y = engine.scope(() => {
      return tape.matmul(tape.constant(x), tape.parameter(weight), { transposeB: true });
    });
    engine.scope(() => tape.backward([[y, dY]]));
    expect([...weight.grad.readSync()]).toEqual(dWeight);
    dispose();
  });
});
