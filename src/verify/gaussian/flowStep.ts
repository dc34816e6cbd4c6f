import type { Engine } from "../../engine/engine.js";
import { type FlowNoise, flowCoefficients } from "../../engine/kernels/flowCoefficients.js";
import { flowStep, flowStepBackward } from "../../engine/kernels/flowStep.js";
import {
  flowTerms,
  gaussianTolerances,
  type Reduction,
} from "../../engine/kernels/gaussianTable.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { flowMean, flowStd } from "../../reference/flowStep.js";
import { gaussianGradient, gaussian as reference } from "../../reference/gaussian.js";
import { type Check, firstOf } from "../check.js";
import { close, F32_ROUNDING, identical, values } from "../compare.js";
import { Random } from "../inputs.js";
import { type FlowGolden, flowSteps } from "./golden.js";
import { reductions } from "./values.js";

const family = "gaussian";

export interface FlowBatch {
  x: Float32Array;
  v: Float32Array;
  noise: Float32Array;
  sigma: number[];
  sigmaNext: number[];
  dLogProb: Float32Array;
  dMean: Float32Array;
  samples: number;
  width: number;
}

/** Samples at different steps of a schedule of ten, from 1 to 0. */
export function flowBatch(samples: number, width: number, seed = samples + width): FlowBatch {
  const random = new Random(seed);
  const make = () => random.normals(samples * width);
  const step = Array.from({ length: samples }, (_, b) => (3 * b) % 10);
  return {
    x: make(),
    v: make(),
    noise: make(),
    sigma: step.map((k) => (10 - k) / 10),
    sigmaNext: step.map((k) => (9 - k) / 10),
    dLogProb: random.normals(samples),
    dMean: make(),
    samples,
    width,
  };
}

export const noises: readonly FlowNoise[] = [
  { kind: "sde", noiseLevel: 0.7, sigmaMax: 0.9 },
  { kind: "constant-sde", noiseLevel: 0.3 },
  { kind: "cps", noiseLevel: 0.7 },
];

/** A step that draws, its replay from what was drawn, and the gradient of that. */
export function callFlow(
  engine: Engine,
  b: FlowBatch,
  noise: FlowNoise,
  reduction: Reduction = "mean",
) {
  const shape = [b.samples, b.width];
  const { sigma, sigmaNext, dLogProb } = b;
  const inputs = { x: engine.tensor(b.x, shape), v: engine.tensor(b.v, shape), sigma, sigmaNext };
  const options = { ...noise, reduction };
  const drawn = flowStep(engine, { ...inputs, noise: engine.tensor(b.noise, shape) }, options);
  const step = flowStep(engine, { ...inputs, next: drawn.next }, options);
  const { next, mean, slope, vScale } = step;
  const dMean = engine.tensor(b.dMean, shape);
  const dV = flowStepBackward(engine, { next, mean, slope, vScale, dLogProb, dMean });
  return { drawn, step, dV };
}

function coefficients({ sigma, sigmaNext }: FlowBatch, noise: FlowNoise) {
  return flowCoefficients({ sigma, sigmaNext }, noise);
}

/** The parts of x and v in every mean: what its rounding is relative to. */
function sizes(b: FlowBatch, noise: FlowNoise): Float64Array {
  const { x, v } = coefficients(b, noise);
  return Float64Array.from(b.x, (value, i) => {
    const s = Math.floor(i / b.width);
    return Math.abs(x[s]! * value) + Math.abs(v[s]! * b.v[i]!);
  });
}

function means(b: FlowBatch, v: ArrayLike<number>, noise: FlowNoise): Float64Array {
  return Float64Array.from(b.x, (x, i) => {
    const s = Math.floor(i / b.width);
    const point = { x, v: v[i]!, sigma: b.sigma[s]!, sigmaNext: b.sigmaNext[s]! };
    return flowMean(point, noise);
  });
}

/** What a step's log-prob and gradient should be, and what their rounding is relative to. */
function expected(b: FlowBatch, noise: FlowNoise, reduction: Reduction, next: Float64Array) {
  const term = flowTerms[noise.kind];
  const size = sizes(b, noise);
  const mean = means(b, b.v, noise);
  const std = b.sigma.map((sigma, s) => flowStd(sigma, b.sigmaNext[s]!, noise));
  const rows = { value: next, mean, std: std.map(Math.fround), width: b.width };
  const of = (i: number) => Math.floor(i / b.width);
  const weight = reduction === "sum" ? 1 : 1 / b.width;
  /** |d^2 logProb / d mean^2| of an element. */
  const curvature = rows.std.map((s) =>
    s === 0 ? 0 : weight * (term === "squared-error" ? 2 : 1 / s ** 2),
  );

  const ones = new Float64Array(b.samples).fill(1);
  const slope = gaussianGradient(rows, ones, term, reduction).map((x, i) =>
    rows.std[of(i)] === 0 ? 0 : x,
  );
  const logProb = reference(rows, term, reduction).map((x, s) => (rows.std[s] === 0 ? 0 : x));
  const { v } = coefficients(b, noise);
  const dV = mean.map((_, i) => v[of(i)]! * (b.dLogProb[of(i)]! * slope[i]! + b.dMean[i]!));

  // The terms themselves, and what an error of the mean makes of them in first and second order.
  const logProbSize = rows.std.map((s) =>
    term === "log-prob" && s > 0 ? weight * b.width * (Math.abs(Math.log(s)) + 1) : 0,
  );
  const dVSize = new Float64Array(mean.length);
  for (const [i, m] of mean.entries()) {
    const s = of(i);
    const away = Math.abs(next[i]! - m);
    const error = gaussianTolerances.mean * size[i]!;
    logProbSize[s]! += curvature[s]! * (away * (away + size[i]!) + error * size[i]!);
    const through = Math.abs(b.dLogProb[s]!) * curvature[s]! * (away + size[i]!);
    dVSize[i] = Math.abs(v[s]!) * (through + Math.abs(b.dMean[i]!));
  }
  return { mean, size, std, logProb, logProbSize, dV, dVSize };
}

function checkFlow(
  engine: Engine,
  b: FlowBatch,
  noise: FlowNoise,
  reduction: Reduction = "mean",
): string | null {
  const { drawn, step, dV } = callFlow(engine, b, noise, reduction);
  const next = values(step.next); // the log-prob is that of these floats
  const want = expected(b, noise, reduction, next);
  const moved = Float64Array.from(b.noise, (z, i) => want.std[Math.floor(i / b.width)]! * z);
  const tolerance = gaussianTolerances;
  return firstOf(
    close("std", values(step.std), want.std, (s) => F32_ROUNDING * want.std[s]!),
    close("mean", values(step.mean), want.mean, (i) => tolerance.mean * want.size[i]!),
    close(
      "next",
      next,
      want.mean.map((m, i) => m + moved[i]!),
      (i) => tolerance.next * (want.size[i]! + Math.abs(moved[i]!)),
    ),
    close(
      "logProb",
      values(step.logProb),
      want.logProb,
      (s) => tolerance.logProb * want.logProbSize[s]!,
    ),
    close("dV", values(dV), want.dV, (i) => tolerance.gradient * want.dVSize[i]! + 1e-37),
    identical("logProb, drawn and given", step.logProb, drawn.logProb),
    identical("slope, drawn and given", step.slope, drawn.slope),
  );
}

function golden(g: FlowGolden): Check {
  return {
    family,
    name: `flow step by hand: ${g.name}`,
    run(engine) {
      const one = (value: number) => engine.tensor([value], [1, 1]);
      const from = g.noise === undefined ? { next: one(g.next) } : { noise: one(g.noise) };
      const { sigma, sigmaNext } = g;
      const inputs = { x: one(g.x), v: one(g.v), sigma, sigmaNext, ...from };
      const { std, logProb, ...step } = flowStep(engine, inputs, g.options);
      const dV = flowStepBackward(engine, { ...step, dLogProb: [1] });
      const { diffusion } = flowCoefficients({ sigma, sigmaNext }, g.options);
      return firstOf(
        close("next", values(step.next), [g.next], 1e-6),
        close("mean", values(step.mean), [g.mean], 1e-6),
        close("std", values(std), [g.std], 1e-6),
        close("diffusion", diffusion, [g.diffusion], 1e-12),
        close("logProb", values(logProb), [g.logProb], 2e-6),
        close("dV", values(dV), [g.dV], 1e-5),
      );
    },
  };
}

function differences(noise: FlowNoise): Check {
  return {
    family,
    name: `flow step ${noise.kind}: gradient against central differences`,
    run(engine) {
      // Steps of a std above 0: sigmaNext is not 0.
      const b = flowBatch(3, 5);
      const { step, dV } = callFlow(engine, b, noise);
      const [value, std] = [values(step.next), values(step.std)];
      const objective = (v: ArrayLike<number>) => {
        const mean = means(b, v, noise);
        const logProb = reference({ value, mean, std, width: b.width }, flowTerms[noise.kind]);
        const other = mean.reduce((sum, m, i) => sum + m * b.dMean[i]!, 0);
        return logProb.reduce((sum, x, s) => sum + x * b.dLogProb[s]!, other);
      };
      return close("dV", values(dV), finiteDifference(objective, b.v), 1e-5);
    },
  };
}

/** Every kind over a schedule, against float64; gradients. */
export function flowStepValueChecks(device: Engine["device"]): Check[] {
  const wide = device === "emulated" ? 4500 : 40_001;
  const shapes: [samples: number, width: number][] = [
    [1, 1],
    [2, 515],
    [2, wide],
    [0, 4],
    [3, 0],
  ];
  return [
    ...flowSteps.map(golden),
    ...noises.flatMap((noise) =>
      reductions.map(
        (reduction): Check => ({
          family,
          name: `flow step ${noise.kind}, ${reduction}, every step of a schedule`,
          run: (engine) => checkFlow(engine, flowBatch(10, 21), noise, reduction),
        }),
      ),
    ),
    ...shapes.map(
      ([samples, width]): Check => ({
        family,
        name: `flow step, shape [${samples}, ${width}]`,
        run: (engine) => checkFlow(engine, flowBatch(samples, width), noises[0]!),
      }),
    ),
    ...noises.map(differences),
  ];
}
