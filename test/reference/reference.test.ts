import { describe, expect, it } from "vitest";
import * as reference from "../../src/reference/index.js";
import { Random } from "../../src/verify/inputs.js";

// The oracles themselves: values that need no program to know, and closed-form gradients against
// differences of the values.

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; ++i) {
    expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(tolerance);
  }
}

describe("log-prob", () => {
  const random = new Random(1);
  const rows = {
    logits: random.normals(4 * 7, 2),
    vocab: 7,
    targets: [0, 6, 3, 2],
    temperature: 0.6,
    mask: [1, 1, 0, 1],
  };

  it("of probabilities 1/4 and 3/4", () => {
    const { logProb, entropy } = reference.logProb({
      logits: [0, Math.log(3)],
      vocab: 2,
      targets: [1],
    });
    expect(logProb[0]).toBeCloseTo(Math.log(0.75), 15);
    expect(entropy[0]).toBeCloseTo(0.25 * Math.log(4) + 0.75 * Math.log(4 / 3), 15);
  });

  it("has the gradient that differences show", () => {
    const [dL, dH] = [random.normals(4), random.normals(4)];
    const objective = (logits: Float64Array) => {
      const { logProb, entropy } = reference.logProb({ ...rows, logits });
      return logProb.reduce((sum, x, t) => sum + x * dL[t]! + entropy[t]! * dH[t]!, 0);
    };
    const want = reference.finiteDifference(objective, rows.logits);
    expectClose(reference.logProbGradient(rows, dL, dH), want, 1e-9);
  });

  it("is NaN with gradient 0 where a row defines no distribution", () => {
    const infinity = Number.POSITIVE_INFINITY;
    const bad = {
      logits: [0, NaN, 0, infinity, -infinity, -infinity, 0, 0],
      vocab: 2,
      targets: [0, 0, 0, 2],
    };
    expect([...reference.logProb(bad).logProb]).toEqual([NaN, NaN, NaN, NaN]);
    expect([...reference.logProbGradient(bad, [1, 1, 1, 1])]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });
});

describe("surrogate", () => {
  it.each(["k1", "k2", "k3", "abs"] as const)("%s has the gradient that differences show", (kl) => {
    for (const d of [-2, -0.3, 0.4, 3]) {
      const want = reference.finiteDifference((x) => reference.klEstimate(x[0]!, 0, kl).value, [d]);
      expect(reference.klEstimate(d, 0, kl).gradient).toBeCloseTo(want[0]!, 8);
    }
  });

  it("k3+ has k3's value and k2's gradient", () => {
    const [plus, k2, k3] = (["k3+", "k2", "k3"] as const).map((kl) =>
      reference.klEstimate(0.7, 0, kl),
    );
    expect(plus).toEqual({ value: k3!.value, gradient: k2!.gradient });
  });

  it("the clipped loss has the gradient that differences show, in all its regions", () => {
    const setting = { epsilon: 0.2, epsilonHigh: 0.3, delta: 2.5, dualClip: 1.8 };
    for (const ratio of [0.3, 0.9, 1.1, 1.6, 2.2, 4]) {
      for (const advantage of [-1.5, 0, 2]) {
        const loss = (x: ArrayLike<number>) =>
          reference.policyLoss(x[0]!, 0, advantage, setting).loss;
        const { gradient } = reference.policyLoss(Math.log(ratio), 0, advantage, setting);
        const want = reference.finiteDifference(loss, [Math.log(ratio)]);
        expect(gradient).toBeCloseTo(want[0]!, 8);
      }
    }
  });
});

describe("group-norm", () => {
  const z = {
    center: "mean",
    scale: "std",
    scope: "group",
    ddof: 1,
    eps: 0,
    epsPlacement: "outside",
    zeroScale: "eps",
    singleton: "zero",
    scopeBlend: 0.5,
    ema: () => 0,
    emaBlend: 1,
  } as const;

  it("gives exactly 0 to equal values, whatever the statistics", () => {
    const { advantage } = reference.groupNorm([0.1, 0.1, 0.1, 7], [[0, 1, 2], [3]], z);
    expect([...advantage]).toEqual([0, 0, 0, 0]);
  });

  it("the leave-one-out centre is the mean's, times n / (n - 1)", () => {
    const values = [3, 1, 2, 6];
    const ask = (center: "mean" | "leave-one-out") =>
      reference.groupNorm(values, [[0, 1, 2, 3]], { ...z, center, scale: "none" }).advantage;
    const want = ask("mean").map((a) => (a * 4) / 3);
    expectClose(ask("leave-one-out"), want, 1e-15);
  });

  it("shift and scale of the rewards leave every scaled advantage as it is", () => {
    const values = [0.3, 1.2, -0.4, 0.9, 0.1];
    const moved = values.map((x) => 4 * x - 2); // powers of two: exact
    for (const scale of ["std", "mean-deviation", "median-deviation", "range"] as const) {
      const [before, after] = [values, moved].map(
        (x) => reference.groupNorm(x, [[0, 1, 2, 3, 4]], { ...z, scale }).advantage,
      );
      expectClose(after!, before!, 1e-14);
    }
  });
});

describe("the parts of a network have the gradients that differences show", () => {
  const random = new Random(2);

  it("attention", () => {
    const shape = {
      heads: 2,
      kvHeads: 1,
      headDim: 3,
      queryOffsets: [0, 1, 5],
      keyOffsets: [0, 1, 5],
    };
    const [q, k, v, d] = [
      random.normals(30),
      random.normals(15),
      random.normals(15),
      random.normals(30),
    ];
    const value = (a: ArrayLike<number>, b: ArrayLike<number>, c: ArrayLike<number>) =>
      reference.attention(a, b, c, shape).reduce((sum, x, i) => sum + x * d[i]!, 0);
    const { dQ, dK, dV } = reference.attentionGradient(q, k, v, d, shape);
    expectClose(
      dQ,
      reference.finiteDifference((x) => value(x, k, v), q),
      1e-9,
    );
    expectClose(
      dK,
      reference.finiteDifference((x) => value(q, x, v), k),
      1e-9,
    );
    expectClose(
      dV,
      reference.finiteDifference((x) => value(q, k, x), v),
      1e-9,
    );
  });

  it("rms norm", () => {
    const [x, w, d] = [random.normals(12), random.normals(4), random.normals(12)];
    const value = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      reference.rmsNorm(a, b, 1e-3).y.reduce((sum, y, i) => sum + y * d[i]!, 0);
    const { dX, dWeight } = reference.rmsNormGradient(x, w, 1e-3, d);
    expectClose(
      dX,
      reference.finiteDifference((a) => value(a, w), x),
      1e-9,
    );
    expectClose(
      dWeight,
      reference.finiteDifference((b) => value(x, b), w),
      1e-9,
    );
  });

  it("swiglu", () => {
    const [g, u, d] = [random.normals(9, 3), random.normals(9), random.normals(9)];
    const value = (a: ArrayLike<number>, b: ArrayLike<number>) =>
      reference.swiglu(a, b).reduce((sum, y, i) => sum + y * d[i]!, 0);
    const { dGate, dUp } = reference.swigluGradient(g, u, d);
    expectClose(
      dGate,
      reference.finiteDifference((a) => value(a, u), g),
      1e-9,
    );
    expectClose(
      dUp,
      reference.finiteDifference((b) => value(g, b), u),
      1e-9,
    );
  });

  it("rope: turning back undoes turning, and lengths stay", () => {
    const x = random.normals(2 * 3 * 4);
    const shape = { heads: 3, headDim: 4 };
    const turned = reference.rope(x, [5, 1000], shape);
    expect(Math.hypot(...turned)).toBeCloseTo(Math.hypot(...x), 12);
    expectClose(reference.rope(turned, [5, 1000], { ...shape, inverse: true }), x, 1e-12);
  });
});

describe("16-bit floats", () => {
  it.each(["bf16", "f16"] as const)("%s: every bit pattern survives being a number", (type) => {
    for (let bits = 0; bits < 65536; ++bits) {
      const x = reference.decode16(bits, type);
      if (!Number.isNaN(x)) expect(reference.encode16(x, type)).toBe(bits);
    }
  });

  it("rounds ties to even and overflows to infinity", () => {
    const decoded = (x: number, type: "bf16" | "f16") =>
      reference.decode16(reference.encode16(x, type), type);
    expect(decoded(1 + 2 ** -8, "bf16")).toBe(1);
    expect(decoded(1 + 3 * 2 ** -8, "bf16")).toBe(1 + 2 ** -6);
    expect(decoded(65519.99, "f16")).toBe(65504);
    expect(decoded(65520, "f16")).toBe(Number.POSITIVE_INFINITY);
    expect(decoded(2 ** -25, "f16")).toBe(0);
    expect(decoded(NaN, "f16")).toBeNaN();
  });
});

describe("adamw", () => {
  it("moves every parameter by lr on the first step, against the gradient's sign", () => {
    const setting = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 0, weightDecay: 0, step: 1 };
    const { param } = reference.adamw({ param: [1, 1], m: [0, 0], v: [0, 0] }, [5, -0.01], setting);
    expectClose(param, [0.9, 1.1], 1e-12);
  });
});

describe("sampling", () => {
  it("inverts the cumulative distribution and never takes what cannot occur", () => {
    const logits = [Math.log(1), Number.NEGATIVE_INFINITY, Math.log(3)];
    expect([0, 0.24, 0.25, 0.99].map((u) => reference.sample(logits, u))).toEqual([0, 0, 2, 2]);
    expect(reference.greedy([1, 3, 3])).toBe(1);
  });
});
