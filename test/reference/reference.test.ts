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

describe("gaussian", () => {
  const rows = {
    value: [0.3, -1, 2, 0.5, 7, 1],
    mean: [0, -1.5, 2.5, 0.1, 0, -1],
    std: [0.7, 2],
    mask: [1, 1, 0, 1, 1, 1],
    width: 3,
  };
  const cases = (["log-prob", "kl", "squared-error"] as const).flatMap((quantity) =>
    (["mean", "sum"] as const).map((reduction) => [quantity, reduction] as const),
  );

  it.each(cases)("%s, %s, has the gradient that differences show", (quantity, reduction) => {
    const dOut = [1.5, -0.4];
    const objective = (mean: ArrayLike<number>) =>
      reference
        .gaussian({ ...rows, mean }, quantity, reduction)
        .reduce((sum, x, b) => sum + x * dOut[b]!, 0);
    const want = reference.finiteDifference(objective, rows.mean);
    expectClose(reference.gaussianGradient(rows, dOut, quantity, reduction), want, 1e-9);
  });

  it("integrates to 1, and its KL is the expectation of the log-ratio", () => {
    const density = (x: number, mean: number) => {
      const point = { value: [x], mean: [mean], std: [0.6], width: 1 };
      return reference.gaussian(point, "log-prob")[0]!;
    };
    let [mass, kl] = [0, 0];
    for (let x = -8; x < 8; x += 1e-3) {
      const p = Math.exp(density(x, 0.4)) * 1e-3;
      mass += p;
      kl += p * (density(x, 0.4) - density(x, -0.3));
    }
    expect(mass).toBeCloseTo(1, 10);
    const point = { value: [-0.3], mean: [0.4], std: [0.6], width: 1 };
    expect(reference.gaussian(point, "kl")[0]).toBeCloseTo(kl, 10);
  });
});

describe("flow steps", () => {
  // If the latent is a mixture (1 - sigma) x0 + sigma x1 and the velocity is x1 - x0, the ODE stays on
  // the line, and the noise that cps takes away and adds keeps the mixture's coefficients.
  const [x0, x1, sigma, sigmaNext] = [0.7, -1.2, 0.6, 0.45];
  const point = { x: (1 - sigma) * x0 + sigma * x1, v: x1 - x0, sigma, sigmaNext };

  it.each(["sde", "constant-sde", "cps"] as const)("%s without noise is the ODE's", (kind) => {
    const mean = reference.flowMean(point, { kind, noiseLevel: 0 });
    expect(mean).toBeCloseTo((1 - sigmaNext) * x0 + sigmaNext * x1, 14);
    expect(reference.flowStd(sigma, sigmaNext, { kind, noiseLevel: 0 })).toBe(0);
  });

  it("cps keeps clean part and size of the noise", () => {
    const setting = { kind: "cps", noiseLevel: 0.4 } as const;
    const std = reference.flowStd(sigma, sigmaNext, setting);
    const left = (reference.flowMean(point, setting) - (1 - sigmaNext) * x0) / x1;
    expect(Math.hypot(left, std)).toBeCloseTo(sigmaNext, 14);
  });

  it("the two SDEs differ in their diffusion alone", () => {
    const s = 0.7 * Math.sqrt(sigma / (1 - sigma));
    const [a, b] = [
      reference.flowMean(point, { kind: "sde", noiseLevel: 0.7 }),
      reference.flowMean(point, { kind: "constant-sde", noiseLevel: s }),
    ];
    expect(a).toBeCloseTo(b!, 14);
  });
});

describe("bernoulli", () => {
  it("of probabilities 3/4 and 1/2", () => {
    const z = Math.log(3);
    expect(reference.bernoulliEntropy(z)).toBeCloseTo(
      0.75 * Math.log(4 / 3) + 0.25 * Math.log(4),
      15,
    );
    expect(reference.bernoulliKl(z, 0)).toBeCloseTo(
      0.75 * Math.log(1.5) + 0.25 * Math.log(0.5),
      15,
    );
  });

  it("has a KL without a seam between its two ways", () => {
    for (const z of [-9, -1, 0.3, 4]) {
      const [below, above] = [
        reference.bernoulliKl(z, z + 0.5 - 1e-12),
        reference.bernoulliKl(z, z + 0.5),
      ];
      expect(Math.abs(below! / above! - 1)).toBeLessThan(1e-10);
    }
  });

  it("has the gradient that differences show", () => {
    const edges = {
      logits: [0.3, -2, 5, 1],
      actions: [1, 0, 0, 1],
      refLogits: [0, -1, 4, 3],
      mask: [1, 1, 1, 0],
      temperature: 0.7,
    };
    const upstream = { dLogProb: [1, -2, 0.5, 1], dEntropy: [0.3, 1, 2, 1], dKl: [1, 1, -1, 1] };
    const objective = (logits: ArrayLike<number>) => {
      const { logProb, entropy, kl } = reference.bernoulli({ ...edges, logits });
      return logProb.reduce(
        (sum, x, e) =>
          sum +
          x * upstream.dLogProb[e]! +
          entropy[e]! * upstream.dEntropy[e]! +
          kl[e]! * upstream.dKl[e]!,
        0,
      );
    };
    const { logProb, entropy, kl } = reference.bernoulliGradient(edges, upstream);
    const got = logProb.map((x, e) => x + entropy[e]! + kl[e]!);
    expectClose(got, reference.finiteDifference(objective, edges.logits), 1e-9);
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
