import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { cast } from "../../src/engine/nn/elementwise.js";
import { AdamW, type AdamWOptions } from "../../src/nn/optimizers/adamw.js";
import { Parameter } from "../../src/nn/parameter.js";
import { random } from "../../src/nn/random.js";

const engine = new Engine();
afterAll(() => engine.dispose());

const shapes = { matrix: [5, 7], norm: [3], empty: [0, 4] };

function values(size: number, seed: number): Float32Array {
  const { normal } = random([seed, size]);
  return Float32Array.from({ length: size }, normal);
}

function parameters(): Parameter[] {
  return Object.entries(shapes).map(([name, shape], i) => {
    return new Parameter(
      name,
      engine.tensor(
        values(
          shape.reduce((a, b) => a * b),
          i,
        ),
        shape,
      ),
    );
  });
}

function masterOf({ value }: Parameter): Float32Array {
  return cast(engine, value, "f32").readSync() as Float32Array;
}

/** A float32 optimiser's state as that of the same parameters in 16 bits. */
async function stateOf(optimizer: AdamW, own: readonly Parameter[]) {
  const state = new Map(await optimizer.state());
  for (const { name, value } of own) {
    const { shape } = value;
    state.set(`master.${name}`, { dtype: "f32", shape, data: value.readSync() });
  }
  return state;
}

/** Loshchilov & Hutter 2019, algorithm 2, in float64. */
class Reference {
  readonly m: number[][];
  readonly v: number[][];
  t = 0;
  readonly x: number[][];
  readonly decays: readonly boolean[];
  readonly options: Required<AdamWOptions>;

  constructor(x: number[][], decays: boolean[], options: Required<AdamWOptions>) {
    this.x = x;
    this.decays = decays;
    this.options = options;
    this.m = x.map((row) => row.map(() => 0));
    this.v = x.map((row) => row.map(() => 0));
  }

  step(grads: number[][], lr: number): number {
    const { betas, eps, weightDecay, maxGradNorm } = this.options;
    const norm = Math.sqrt(grads.flat().reduce((sum, g) => sum + g * g, 0));
    const clip = Math.min(1, (maxGradNorm ?? Infinity) / (norm + 1e-6));
    ++this.t;
    for (const [p, row] of this.x.entries()) {
      const decay = this.decays[p] ? weightDecay : 0;
      for (const [i, x] of row.entries()) {
        const g = grads[p]![i]! * clip;
        this.m[p]![i] = betas[0] * this.m[p]![i]! + (1 - betas[0]) * g;
        this.v[p]![i] = betas[1] * this.v[p]![i]! + (1 - betas[1]) * g * g;
        const m = this.m[p]![i]! / (1 - betas[0] ** this.t);
        const v = this.v[p]![i]! / (1 - betas[1] ** this.t);
        row[i] = x - lr * (m / (Math.sqrt(v) + eps) + decay * x);
      }
    }
    return norm;
  }
}

describe("AdamW", () => {
  it.each([
    { weightDecay: 0, maxGradNorm: null },
    { weightDecay: 0.1, maxGradNorm: null },
    { weightDecay: 0.1, maxGradNorm: 0.5 },
    { weightDecay: 0, maxGradNorm: 1000 },
  ])("agrees with float64 over 20 steps: %j", async (given) => {
    const options = { betas: [0.9, 0.95], eps: 1e-8, ...given } as const;
    const own = parameters();
    const optimizer = new AdamW(engine, own, options);
    const reference = new Reference(
      own.map(({ value }) => [...value.readSync()]),
      [true, false, true],
      options,
    );
    for (let step = 1; step <= 20; ++step) {
      const lr = 0.01 / step;
      const grads = own.map(({ value }, i) => values(value.size, 100 * step + i));
      for (const [i, { grad }] of own.entries()) grad.write(grads[i]!);
      optimizer.step(lr);
      const norm = reference.step(
        grads.map((grad) => [...grad]),
        lr,
      );
      expect(await optimizer.gradNorm()).toBeCloseTo(norm, 10);
    }
    for (const [p, { value }] of own.entries()) {
      for (const [i, x] of value.readSync().entries()) {
        // 20 steps, each rounding x (|x| < 4) and the moments to float32.
        expect(Math.abs(x - reference.x[p]![i]!)).toBeLessThan(4e-6);
      }
    }
    expect(optimizer.steps).toBe(20);
  });

  it("steps masters of bf16 parameters like float32 ones, and resumes with them", async () => {
    const wide = parameters();
    const narrow = wide.map(({ name, value }) => new Parameter(name, cast(engine, value, "bf16")));
    for (const [i, { value }] of wide.entries()) value.write(masterOf(narrow[i]!));
    const options = { weightDecay: 0.1, maxGradNorm: 0.5 };
    const first = new AdamW(engine, wide, options);
    let second = new AdamW(engine, narrow, options);
    for (let step = 1; step <= 6; ++step) {
      for (const [i, { grad }] of wide.entries()) {
        grad.write(values(grad.size, 100 * step + i));
        narrow[i]!.grad.write(grad.readSync());
      }
      first.step(0.01);
      second.step(0.01);
      const state = await second.state();
      for (const [i, { name, value }] of wide.entries()) {
        expect(state.get(`master.${name}`)!.data).toEqual(value.readSync());
        const rounded = cast(engine, value, "bf16").readSync();
        expect(narrow[i]!.value.readSync()).toEqual(rounded);
      }
      if (step !== 3) continue;
      second.dispose();
      second = new AdamW(engine, narrow, options);
      state.delete("master.norm");
      expect(() => second.load(state)).toThrow("master.norm");
      second.load(await stateOf(first, wide));
    }
  });

  it("changes nothing where the gradient is not finite", async () => {
    const own = parameters();
    const optimizer = new AdamW(engine, own);
    const before = own.map(({ value }) => value.readSync());
    own[0]!.grad.write(values(35, 1));
    own[1]!.grad.write([1, Number.NaN, 1]);
    optimizer.step(0.1);
    expect(own.map(({ value }) => value.readSync())).toEqual(before);
    expect(await optimizer.gradNorm()).toBeNaN();
  });

  it("zeroes gradients", () => {
    const own = parameters();
    const optimizer = new AdamW(engine, own);
    own[1]!.grad.write([1, 2, 3]);
    optimizer.zeroGrad();
    expect([...own[1]!.grad.readSync()]).toEqual([0, 0, 0]);
  });

  it("continues from a saved state, bit for bit", async () => {
    const step = (optimizer: AdamW, own: Parameter[], seed: number) => {
      for (const [i, { grad, value }] of own.entries()) grad.write(values(value.size, seed + i));
      optimizer.step(0.01);
    };
    const straight = parameters();
    const first = new AdamW(engine, straight);
    step(first, straight, 10);
    const resumed = straight.map(({ name, value }) => {
      return new Parameter(name, engine.tensor(value.readSync(), value.shape));
    });
    const second = new AdamW(engine, resumed);
    second.load(await first.state());
    expect(await second.gradNorm()).toBeNull();
    step(first, straight, 20);
    step(second, resumed, 20);
    expect(second.steps).toBe(2);
    for (const [i, { value }] of straight.entries()) {
      expect(resumed[i]!.value.readSync()).toEqual(value.readSync());
    }
  });

  it("refuses the state of another network and stays as it was", async () => {
    const own = parameters();
    const optimizer = new AdamW(engine, own);
    own[1]!.grad.write([1, 2, 3]);
    optimizer.step(0.1);
    const state = await optimizer.state();
    const fails = (change: (state: Map<string, unknown>) => void, reason: string) => {
      const changed = new Map(state);
      change(changed);
      expect(() => optimizer.load(changed)).toThrow(
        expect.objectContaining({
          code: "ERR_CHECKPOINT",
          message: expect.stringContaining(reason),
        }),
      );
    };
    fails((s) => s.delete("m.norm"), "m.norm");
    fails((s) => s.delete("step"), "step");
    fails(
      (s) => s.set("v.norm", { dtype: "f32", shape: [4], data: new Float32Array(4) }),
      "f32 [4]",
    );
    fails(
      (s) => s.set("v.norm", { dtype: "f64", shape: [3], data: new Float64Array(3) }),
      "f64 [3]",
    );
    fails((s) => s.set("m.other", state.get("m.norm")), "7 tensors");
    fails((s) => s.set("step", { dtype: "i32", shape: [1], data: Int32Array.of(-1) }), "step");
    expect(await optimizer.state()).toEqual(state);
  });

  it.each([
    [{ betas: [0.9, 1] }, "betas[1]"],
    [{ betas: [Number.NaN, 0.9] }, "betas[0]"],
    [{ eps: 0 }, "eps"],
    [{ weightDecay: -1 }, "weightDecay"],
    [{ maxGradNorm: 0 }, "maxGradNorm"],
    [{ learningRate: 1 }, "learningRate"],
  ])("refuses %j", (options, name) => {
    expect(() => new AdamW(engine, [], options as AdamWOptions)).toThrow(name);
  });

  it.each([Number.NaN, -1, Infinity])("refuses the learning rate %s", (lr) => {
    const optimizer = new AdamW(engine, []);
    expect(() => optimizer.step(lr)).toThrow(expect.objectContaining({ code: "ERR_RANGE" }));
    expect(optimizer.steps).toBe(0);
  });
});
