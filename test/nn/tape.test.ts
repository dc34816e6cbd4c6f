import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
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
