import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { flowCoefficients } from "../../src/engine/kernels/flowCoefficients.js";
import { flowStep, flowStepBackward } from "../../src/engine/kernels/flowStep.js";
import {
  gaussianKl,
  gaussianKlBackward,
  gaussianLogProb,
  gaussianLogProbBackward,
} from "../../src/engine/kernels/gaussian.js";
import { gaussianTable } from "../../src/engine/kernels/gaussianTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const zeros = (...shape: number[]) => engine.zeros(shape);

describe("flowCoefficients", () => {
  it("of a whole schedule gives the noise of every step", () => {
    const sigmas = [1, 0.5, 0];
    const schedule = { sigma: sigmas.slice(0, -1), sigmaNext: sigmas.slice(1) };
    const { std } = flowCoefficients(schedule, { kind: "sde", noiseLevel: 1, sigmaMax: sigmas[1] });
    expect(std[0]).toBeCloseTo(1, 14);
    expect(std[1]).toBeCloseTo(Math.SQRT1_2, 14);
  });

  it("takes one number for all on either side", () => {
    const noise = { kind: "cps", noiseLevel: 0.5 } as const;
    const { std } = flowCoefficients({ sigma: 0.9, sigmaNext: Float32Array.of(0.5, 0.25) }, noise);
    expect(std.map((s) => s / Math.SQRT1_2)).toEqual([0.5, 0.25].map((x) => expect.closeTo(x, 14)));
    expect(flowCoefficients({ sigma: 0.9, sigmaNext: 0.1 }, noise).x).toHaveLength(1);
  });

  it("keeps the coefficients of cps: x0 by 1 - sigma', x1 and noise by sigma' together", () => {
    for (const noiseLevel of [0, 0.3, 0.7, 1]) {
      const step = { sigma: 0.6, sigmaNext: 0.35 };
      const { x, v, std } = flowCoefficients(step, { kind: "cps", noiseLevel });
      // With v = x1 - x0 and latent = 0.4 x0 + 0.6 x1.
      const ofClean = 0.4 * x[0]! - v[0]!;
      const ofNoise = 0.6 * x[0]! + v[0]!;
      expect(ofClean).toBeCloseTo(0.65, 14);
      expect(Math.hypot(ofNoise, std[0]!)).toBeCloseTo(0.35, 14);
    }
  });

  const sde = { kind: "sde", noiseLevel: 0.7 } as const;
  const step = { sigma: 0.5, sigmaNext: 0.4 };
  it.each<[string, () => unknown, RegExp]>([
    [
      "a sigma above 1",
      () => flowCoefficients({ ...step, sigma: 1.1 }, sde),
      /^ERR_RANGE: .* \(0, 1\] for sigma /,
    ],
    [
      "a sigma of 0",
      () => flowCoefficients({ sigma: [0.5, 0], sigmaNext: 0 }, sde),
      /^ERR_RANGE: .* \(0, 1\] for sigma\[1\] /,
    ],
    [
      "a sigma that is no number",
      () => flowCoefficients({ ...step, sigma: Number.NaN }, sde),
      /^ERR_RANGE: .* for sigma /,
    ],
    [
      "time that stands still",
      () => flowCoefficients({ sigma: 0.5, sigmaNext: [0.4, 0.5] }, sde),
      /^ERR_RANGE: Expected a number below sigma, 0.5, for sigmaNext\[1\] but received 0.5/,
    ],
    [
      "time that runs back",
      () => flowCoefficients({ ...step, sigmaNext: 0.6 }, sde),
      /^ERR_RANGE: .* below sigma/,
    ],
    [
      "a negative sigmaNext",
      () => flowCoefficients({ ...step, sigmaNext: -0.1 }, sde),
      /^ERR_RANGE: .* for sigmaNext /,
    ],
    [
      "sigma 1 without sigmaMax",
      () => flowCoefficients({ sigma: [0.9, 1], sigmaNext: 0.5 }, sde),
      /^ERR_OPTION: .* \(sigma\[1\] is 1\) for sigmaMax but received undefined/,
    ],
    [
      "sigmaMax 1",
      () => flowCoefficients(step, { ...sde, sigmaMax: 1 }),
      /^ERR_RANGE: .* \[0, 1\) for sigmaMax/,
    ],
    [
      "sigmaMax where it has no place",
      () => flowCoefficients(step, { kind: "cps", noiseLevel: 0.7, sigmaMax: 0.9 }),
      /^ERR_OPTION: Expected nothing \(kind is "cps"\) for sigmaMax but received 0.9/,
    ],
    [
      "more noise than cps has",
      () => flowCoefficients(step, { kind: "cps", noiseLevel: 1.1 }),
      /^ERR_RANGE: .* \[0, 1\] for noiseLevel/,
    ],
    [
      "a noise level that is no number",
      () => flowCoefficients(step, { ...sde, noiseLevel: Number.NaN }),
      /^ERR_RANGE: .* for noiseLevel/,
    ],
    [
      "a noise level lost in rounding",
      () => flowCoefficients(step, { ...sde, noiseLevel: 1e-20 }),
      /^ERR_RANGE: .* std of 0 or in \[1e-15, 1000000000000000\] from sigma 0.5 to 0.4/,
    ],
    [
      "another kind",
      () => flowCoefficients(step, { ...sde, kind: "csp" as never }),
      /^ERR_OPTION: .* \(did you mean "cps"\?\)/,
    ],
    [
      "arrays of different lengths",
      () => flowCoefficients({ sigma: [0.5, 0.6], sigmaNext: [0.4] }, sde),
      /^ERR_SHAPE: Expected 2 values, as sigma has, for sigmaNext but received 1/,
    ],
    [
      "an unknown key",
      () => flowCoefficients({ ...step, sigmas: [1] } as never, sde),
      /^ERR_OPTION: .* in schedule but received "sigmas"/,
    ],
    ["nothing", () => flowCoefficients(step, undefined as never), /^ERR_OPTION: .* for noise/],
    [
      "a word as sigma",
      () => flowCoefficients({ ...step, sigma: "0.5" as never }, sde),
      /^ERR_DTYPE: .* for sigma /,
    ],
  ])("refuses %s", (_, call, message) => {
    expect(refusal(call)).toMatch(message);
  });
});

describe("flowStep", () => {
  const base = { x: zeros(2, 3), v: zeros(2, 3), noise: zeros(2, 3), sigma: 0.5, sigmaNext: 0.4 };
  const sde = { kind: "sde", noiseLevel: 0.7 } as const;

  it("hands back the next that it was given", () => {
    const next = zeros(2, 3);
    expect(flowStep(engine, { ...base, noise: null, next }, sde).next).toBe(next);
  });

  it("needs no noise where no step has any", () => {
    const { noise: _, ...rest } = base;
    const { next, mean } = flowStep(engine, rest, { ...sde, noiseLevel: 0 });
    expect(next.readSync()).toEqual(mean.readSync());
    const last = { ...rest, sigma: 0.1, sigmaNext: 0 };
    expect(flowStep(engine, last, { kind: "cps", noiseLevel: 0.7 }).logProb.readSync()).toEqual(
      new Float32Array(2),
    );
  });

  it.each<[string, object, object, RegExp]>([
    [
      "noise and next at once",
      { next: zeros(2, 3) },
      {},
      /^ERR_OPTION: Expected either noise or next but received both/,
    ],
    [
      "neither of them",
      { noise: null },
      {},
      /^ERR_OPTION: .* noise or next .* but received neither/,
    ],
    ["a velocity of another shape", { v: zeros(3, 2) }, {}, /^ERR_SHAPE: .*\[2, 3\] for v /],
    ["latents that are no matrix", { x: zeros(6) }, {}, /^ERR_SHAPE: .*\[any, any\] for x /],
    [
      "latents in half precision",
      { x: engine.zeros([2, 3], "bf16") },
      {},
      /^ERR_DTYPE: Expected dtype f32 for x but received "bf16"/,
    ],
    [
      "schedules for more samples",
      { sigma: [0.5, 0.6, 0.7] },
      {},
      /^ERR_SHAPE: Expected 2 values, as x has rows, for sigma but received 3/,
    ],
    ["an unknown option", {}, { noiselevel: 1 }, /^ERR_OPTION: .* \(did you mean "noiseLevel"\?\)/],
    ["an unknown input", { velocity: 1 }, {}, /^ERR_OPTION: .* in inputs but received "velocity"/],
    ["another reduction", {}, { reduction: "max" }, /^ERR_OPTION: .* for reduction/],
  ])("refuses %s", (_, inputs, options, message) => {
    const call = () => flowStep(engine, { ...base, ...inputs }, { ...sde, ...options });
    expect(refusal(call)).toMatch(message);
  });

  it("goes back only with what the step gave", () => {
    const { next, mean, slope, vScale } = flowStep(engine, base, sde);
    const args = { next, mean, slope, vScale, dLogProb: [1, 1] };
    const message = (change: object) =>
      refusal(() => flowStepBackward(engine, { ...args, ...change }));
    expect(message({ dLogProb: [1] })).toMatch(/^ERR_SHAPE: .* for dLogProb/);
    expect(message({ slope: [1, 1, 1] })).toMatch(/^ERR_SHAPE: .* for slope/);
    expect(message({ slope: zeros(2) })).toMatch(/^ERR_DTYPE: .* f64 for slope/);
    expect(message({ next: zeros(2, 2) })).toMatch(/^ERR_SHAPE: .* for next/);
    expect(message({ dMean: zeros(3, 2) })).toMatch(/^ERR_SHAPE: .* for dMean/);
    expect(message({ std: [1, 1] })).toMatch(/^ERR_OPTION: .* "std"/);
  });
});

describe("gaussianLogProb and gaussianKl", () => {
  const base = { value: zeros(2, 3), mean: zeros(2, 3), std: 1 };

  it.each<[string, () => unknown, RegExp]>([
    [
      "a std of 0",
      () => gaussianLogProb(engine, { ...base, std: 0 }),
      /^ERR_RANGE: .* \[1e-15, 1000000000000000\] for std but received 0/,
    ],
    [
      "a std that is no number",
      () => gaussianKl(engine, { mean: base.mean, refMean: base.mean, std: Number.NaN }),
      /^ERR_RANGE: .* for std/,
    ],
    [
      "a std for another batch",
      () => gaussianLogProb(engine, { ...base, std: [1, 2, 3] }),
      /^ERR_SHAPE: .*\[2\] for std/,
    ],
    [
      "a mask of floats",
      () => gaussianLogProb(engine, { ...base, mask: zeros(2, 3) }),
      /^ERR_DTYPE: .* u8 for mask/,
    ],
    [
      "values in half precision",
      () => gaussianLogProb(engine, { ...base, value: engine.zeros([2, 3], "f16") }),
      /^ERR_DTYPE: .* for value but received "f16"/,
    ],
    [
      "a reference of another shape",
      () => gaussianKl(engine, { mean: base.mean, refMean: zeros(2, 4), std: 1 }),
      /^ERR_SHAPE: .* for refMean/,
    ],
    [
      "another reduction",
      () => gaussianLogProb(engine, base, { reduction: "none" as never }),
      /^ERR_OPTION: .* one of "mean", "sum" for reduction/,
    ],
    [
      "an input of the other function",
      () => gaussianKl(engine, { ...base, refMean: base.mean } as never),
      /^ERR_OPTION: .* in inputs but received "value"/,
    ],
    [
      "upstream of another batch",
      () => {
        const { slope } = gaussianLogProb(engine, base);
        const { value, mean } = base;
        gaussianLogProbBackward(engine, { value, mean, slope, dLogProb: [1] });
      },
      /^ERR_SHAPE: .* for dLogProb/,
    ],
    [
      "upstream of a KL of another batch",
      () => {
        const { mean } = base;
        const { slope } = gaussianKl(engine, { mean, refMean: mean, std: 1 });
        gaussianKlBackward(engine, { mean, refMean: mean, slope, dKl: [1, 2, 3] });
      },
      /^ERR_SHAPE: .* for dKl/,
    ],
    [
      "a disposed tensor",
      () => {
        const gone = zeros(2, 3);
        gone.dispose();
        gaussianLogProb(engine, { ...base, mean: gone });
      },
      /^ERR_DISPOSED: .* for mean/,
    ],
  ])("refuses %s", (_, call, message) => {
    expect(refusal(call)).toMatch(message);
  });

  it("has all its combinations in its table", () => {
    expect(gaussianTable.combinations).toHaveLength(10);
    expect(gaussianTable.combinations.every(({ refusal }) => refusal === null)).toBe(true);
  });
});
