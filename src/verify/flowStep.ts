import type { Engine } from "../engine/engine.js";
import { type FlowNoise, flowCoefficients } from "../engine/kernels/flowCoefficients.js";
import { type FlowStepResult, flowStep, flowStepBackward } from "../engine/kernels/flowStep.js";
import { gaussianLogProb } from "../engine/kernels/gaussian.js";
import { flowTerms, gaussianTolerances, type Reduction } from "../engine/kernels/gaussianTable.js";
import type { Tensor } from "../engine/tensor.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { flowMean, flowStd } from "../reference/flowStep.js";
import { gaussianGradient, gaussian as reference } from "../reference/gaussian.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, identical, sameBits, values, zero } from "./compare.js";
import { reductions } from "./gaussian.js";
import { type FlowGolden, flowSteps } from "./gaussianGolden.js";
import { faultsOf, Random, withThreads } from "./inputs.js";

const family = "gaussian";

interface FlowBatch {
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
function flowBatch(samples: number, width: number, seed = samples + width): FlowBatch {
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

const noises: readonly FlowNoise[] = [
  { kind: "sde", noiseLevel: 0.7, sigmaMax: 0.9 },
  { kind: "constant-sde", noiseLevel: 0.3 },
  { kind: "cps", noiseLevel: 0.7 },
];

/** A step that draws, its replay from what was drawn, and the gradient of that. */
function callFlow(engine: Engine, b: FlowBatch, noise: FlowNoise, reduction: Reduction = "mean") {
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

function checkFlow(
  engine: Engine,
  b: FlowBatch,
  noise: FlowNoise,
  reduction: Reduction = "mean",
): string | null {
  const { drawn, step, dV } = callFlow(engine, b, noise, reduction);
  const size = sizes(b, noise);
  const mean = means(b, b.v, noise);
  const of = (i: number) => Math.floor(i / b.width);
  const std = values(step.std);
  const wantStd = b.sigma.map((sigma, s) => flowStd(sigma, b.sigmaNext[s]!, noise));
  const wantNext = mean.map((m, i) => m + wantStd[of(i)]! * b.noise[i]!);

  // Of the floats that next and std are.
  const term = flowTerms[noise.kind];
  const rows = { value: values(step.next), mean, std, width: b.width };
  const deterministic = (s: number) => std[s] === 0;
  const logProb = reference(rows, term, reduction).map((x, s) => (deterministic(s) ? 0 : x));
  const slope = gaussianGradient(rows, new Float64Array(b.samples).fill(1), term, reduction);
  const absolute = Array.from({ length: b.samples }, (_, s) => {
    const constants = term === "log-prob" ? Math.abs(Math.log(std[s]!)) + 1 : 0;
    const weight = reduction === "sum" ? 1 : 1 / b.width;
    let sum = constants * weight * b.width;
    for (let i = s * b.width; i < (s + 1) * b.width; ++i) {
      // The term itself, and what the error of the mean makes of it in first and second order.
      const away = Math.abs(slope[i]! * (rows.value[i]! - mean[i]!));
      const perStd = term === "log-prob" ? 1 / std[s]! ** 2 : 2;
      const second = gaussianTolerances.mean * weight * perStd * size[i]! ** 2;
      sum += away + Math.abs(slope[i]!) * size[i]! + second;
    }
    return sum;
  });
  const vScale = coefficients(b, noise).v;
  const wantDV = mean.map((_, i) => {
    const through = deterministic(of(i)) ? 0 : b.dLogProb[of(i)]! * slope[i]!;
    return vScale[of(i)]! * (through + b.dMean[i]!);
  });
  const dVSize = mean.map((_, i) => {
    const s = of(i);
    const weight = reduction === "sum" ? 1 : 1 / b.width;
    const perStd = deterministic(s) ? 0 : term === "log-prob" ? 1 / std[s]! ** 2 : 2;
    const away = Math.abs(rows.value[i]! - mean[i]!) + size[i]!;
    const through = Math.abs(b.dLogProb[s]!) * weight * perStd * away;
    return Math.abs(vScale[s]!) * (through + Math.abs(b.dMean[i]!));
  });
  const { mean: ofMean, next: ofNext, gradient, logProb: ofLogProb } = gaussianTolerances;
  return firstOf(
    close("std", std, wantStd, (s) => F32_ROUNDING * wantStd[s]!),
    close("mean", values(step.mean), mean, (i) => ofMean * size[i]!),
    close(
      "next",
      rows.value,
      wantNext,
      (i) => ofNext * (size[i]! + Math.abs(wantStd[of(i)]! * b.noise[i]!)),
    ),
    close("logProb", values(step.logProb), logProb, (s) => ofLogProb * absolute[s]!),
    close("dV", values(dV), wantDV, (i) => gradient * dVSize[i]! + 1e-37),
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

/** The step's log-prob is that of its mean and std as a Gaussian, bit for bit. */
function sameAsGaussian(noise: FlowNoise): Check {
  return {
    family,
    name: `flow step ${noise.kind}: its log-prob is gaussianLogProb of what it returns`,
    run(engine) {
      const { step } = callFlow(engine, flowBatch(4, 77), noise);
      const { next: value, mean, std } = step;
      const { logProb, slope } = gaussianLogProb(engine, { value, mean, std });
      return firstOf(
        identical("logProb", logProb, step.logProb),
        identical("slope", slope, step.slope),
      );
    },
  };
}

const deterministic: Check = {
  family,
  name: "deterministic steps: next = mean, log-prob 0; only what comes from elsewhere flows back",
  run(engine) {
    const b = flowBatch(4, 6);
    const noise: FlowNoise = { kind: "sde", noiseLevel: 0 };
    const { sigma, sigmaNext } = b;
    const { finding, faults } = faultsOf(engine, (own) => {
      const tensor = (x: Float32Array) => own.tensor(x, [4, 6]);
      const inputs = { x: tensor(b.x), v: tensor(b.v), sigma, sigmaNext };
      const filth = tensor(new Float32Array(24).fill(Number.NaN));
      const none = flowStep(own, inputs, noise);
      const ignored = flowStep(own, { ...inputs, noise: filth }, noise);
      const { next, mean, slope, vScale } = none;
      const dMean = tensor(b.dMean);
      const ones = new Float32Array(4).fill(1);
      const back = (more: { dMean?: Tensor }) =>
        values(flowStepBackward(own, { next, mean, slope, vScale, dLogProb: ones, ...more }));
      const want = b.dMean.map((d, i) => d * values(vScale)[Math.floor(i / 6)]!);
      return firstOf(
        identical("next", next, mean),
        identical("next with noise", ignored.next, mean),
        zero("logProb", values(none.logProb)),
        zero("dV", back({})),
        close("dV of dMean", back({ dMean }), want, 0),
      );
    });
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

function fault(name: "x" | "v" | "noise"): Check {
  return {
    family,
    name: `flow step: NaN in ${name}: log-prob NaN, gradient 0, reported, others untouched`,
    run(engine) {
      const b = flowBatch(3, 30);
      const clean = callFlow(engine, b, noises[0]!);
      b[name][35] = Number.NaN;
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = callFlow(own, b, noises[0]!);
        const same = (what: keyof FlowStepResult, s: number) =>
          identical(
            `${what} of ${s}`,
            got.step[what].rows(s, s + 1),
            clean.step[what].rows(s, s + 1),
          );
        return firstOf(
          close("logProb", values(got.step.logProb.rows(1, 2)), [Number.NaN], 0),
          zero("dV", values(got.dV.rows(1, 2))),
          ...[0, 2].flatMap((s) => [
            same("logProb", s),
            same("mean", s),
            same("next", s),
            identical(`dV of ${s}`, got.dV.rows(s, s + 1), clean.dV.rows(s, s + 1)),
          ]),
        );
      });
      if (finding !== null) return finding;
      const right = faults.every(
        (f) => f.kind === "not-a-number" && f.count === 1 && f.firstRow === 1,
      );
      return faults.length > 0 && right ? null : `reported ${JSON.stringify(faults)}`;
    },
  };
}

export function flowStepChecks(device: Engine["device"]): Check[] {
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
    ...noises.slice(0, 2).map(sameAsGaussian),
    deterministic,
    ...(["x", "v", "noise"] as const).map(fault),
    {
      family,
      name: "flow step: numbers as noise levels are the same as one each",
      run(engine) {
        const b = flowBatch(3, 10);
        const each = { ...b, sigma: [0.4, 0.4, 0.4], sigmaNext: [0.3, 0.3, 0.3] };
        const shape = [3, 10];
        const [x, v] = [engine.tensor(b.x, shape), engine.tensor(b.v, shape)];
        const noise = engine.tensor(b.noise, shape);
        const one = flowStep(engine, { x, v, noise, sigma: 0.4, sigmaNext: 0.3 }, noises[0]!);
        const got = callFlow(engine, each, noises[0]!).drawn;
        const names = Object.keys(one) as (keyof FlowStepResult)[];
        return firstOf(...names.map((name) => identical(name, got[name], one[name])));
      },
    },
    {
      family,
      name: "flow step: a sample gives the same bits alone and with one or two threads",
      run(engine) {
        const b = flowBatch(3, wide);
        const [one, two] = withThreads(engine, (own) => {
          const { drawn, dV } = callFlow(own, b, noises[0]!);
          return [drawn.next, drawn.logProb, dV].map((tensor) => tensor.readSync());
        });
        const part = <T extends Float32Array>(x: T) => x.slice(wide, 2 * wide);
        const alone: FlowBatch = {
          x: part(b.x),
          v: part(b.v),
          noise: part(b.noise),
          dMean: part(b.dMean),
          dLogProb: b.dLogProb.slice(1, 2),
          sigma: b.sigma.slice(1, 2),
          sigmaNext: b.sigmaNext.slice(1, 2),
          samples: 1,
          width: wide,
        };
        const got = callFlow(engine, alone, noises[0]!);
        return firstOf(
          ...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)),
          sameBits("next", got.drawn.next.readSync(), part(one[0] as Float32Array)),
          sameBits("logProb", got.drawn.logProb.readSync(), one[1]!.slice(1, 2)),
          sameBits("dV", got.dV.readSync(), part(one[2] as Float32Array)),
        );
      },
    },
  ];
}
