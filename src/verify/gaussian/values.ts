import type { Engine } from "../../engine/engine.js";
import {
  gaussianKl,
  gaussianKlBackward,
  gaussianLogProb,
  gaussianLogProbBackward,
} from "../../engine/kernels/gaussian.js";
import {
  gaussianTolerances,
  type Reduction,
  reductions as reductionTexts,
} from "../../engine/kernels/gaussianTable.js";
import type { Tensor } from "../../engine/tensor.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { gaussianGradient, gaussian as reference } from "../../reference/gaussian.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { Random } from "../inputs.js";
import { type GaussianGolden, gaussians } from "./golden.js";

const family = "gaussian";

export type Quantity = "log-prob" | "kl";
export const quantities: readonly Quantity[] = ["log-prob", "kl"];
export const reductions = Object.keys(reductionTexts) as Reduction[];

/** Samples with a std each. For a KL, `value` is the mean of the reference. */
export interface GaussianBatch {
  value: Float32Array;
  mean: Float32Array;
  std: Float32Array;
  mask: Uint8Array | null;
  /** Upstream of log-prob or KL. */
  dOut: Float32Array;
  samples: number;
  width: number;
}

export function gaussianBatch(
  samples: number,
  width: number,
  options: { seed?: number; masked?: boolean; away?: number } = {},
): GaussianBatch {
  const random = new Random(options.seed ?? samples + width);
  const mean = random.normals(samples * width, 2);
  const std = Float32Array.from({ length: samples }, () => Math.exp(random.normal()));
  const away = options.away ?? 1; // in stds
  return {
    value: mean.map((m, i) => m + away * std[Math.floor(i / width)]! * random.normal()),
    mean,
    std,
    mask: options.masked ? random.mask(samples * width) : null,
    dOut: random.normals(samples),
    samples,
    width,
  };
}

export interface GaussianCall {
  out: Tensor;
  slope: Tensor;
  dMean: Tensor;
}

/** Forward and backward of one quantity. */
export function callGaussian(
  engine: Engine,
  b: GaussianBatch,
  quantity: Quantity,
  reduction: Reduction,
): GaussianCall {
  const shape = [b.samples, b.width];
  const [value, mean] = [engine.tensor(b.value, shape), engine.tensor(b.mean, shape)];
  const mask = b.mask === null ? null : engine.tensor(b.mask, shape);
  const { std } = b;
  if (quantity === "kl") {
    const { kl, slope } = gaussianKl(engine, { mean, refMean: value, std, mask }, { reduction });
    const backward = { mean, refMean: value, mask, slope, dKl: b.dOut };
    return { out: kl, slope, dMean: gaussianKlBackward(engine, backward) };
  }
  const { logProb, slope } = gaussianLogProb(engine, { value, mean, std, mask }, { reduction });
  const backward = { value, mean, mask, slope, dLogProb: b.dOut };
  return { out: logProb, slope, dMean: gaussianLogProbBackward(engine, backward) };
}

/** Sums of the absolute terms of every sample: what rounding is relative to. */
export function magnitudes(b: GaussianBatch, quantity: Quantity, reduction: Reduction) {
  const squares = reference(b, "kl", reduction);
  if (quantity === "kl") return squares;
  return squares.map((sum, s) => {
    let count = 0;
    for (let i = s * b.width; i < (s + 1) * b.width; ++i) count += b.mask?.[i] ?? 1;
    const constants = Math.abs(Math.log(b.std[s]!)) + Math.log(2 * Math.PI) / 2;
    return sum + constants * (reduction === "sum" ? count : Math.min(count, 1));
  });
}

export function checkGaussian(
  engine: Engine,
  b: GaussianBatch,
  quantity: Quantity,
  reduction: Reduction,
): string | null {
  const got = callGaussian(engine, b, quantity, reduction);
  const sizes = magnitudes(b, quantity, reduction);
  const gradient = gaussianGradient(b, b.dOut, quantity, reduction);
  return firstOf(
    close(
      quantity,
      values(got.out),
      reference(b, quantity, reduction),
      (s) => gaussianTolerances.logProb * sizes[s]!,
    ),
    close(
      "dMean",
      values(got.dMean),
      gradient,
      (i) => gaussianTolerances.gradient * Math.abs(gradient[i]!) + 1e-37,
    ),
  );
}

function golden(g: GaussianGolden): Check {
  return {
    family,
    name: `by hand: ${g.name}`,
    run(engine) {
      const b: GaussianBatch = {
        value: Float32Array.from(g.value),
        mean: Float32Array.from(g.mean),
        std: Float32Array.of(g.std),
        mask: g.mask === undefined ? null : Uint8Array.from(g.mask),
        dOut: Float32Array.of(1),
        samples: 1,
        width: g.value.length,
      };
      const findings = quantities.flatMap((quantity) => {
        const got = callGaussian(engine, b, quantity, g.reduction ?? "mean");
        const kl = quantity === "kl";
        return [
          close(quantity, values(got.out), [kl ? g.kl : g.logProb], 2e-6),
          close(`d ${quantity}`, values(got.dMean), kl ? g.dKl : g.dLogProb, 1e-6),
        ];
      });
      return firstOf(...findings);
    },
  };
}

/** One std for all is the same as that std for each. */
const oneStd: Check = {
  family,
  name: "a number as std",
  run(engine) {
    const b = { ...gaussianBatch(3, 10), std: new Float32Array(3).fill(0.7) };
    const [value, mean] = [engine.tensor(b.value, [3, 10]), engine.tensor(b.mean, [3, 10])];
    const got = gaussianLogProb(engine, { value, mean, std: 0.7 });
    const want = callGaussian(engine, b, "log-prob", "mean");
    return firstOf(
      close("logProb", values(got.logProb), values(want.out), 0),
      close("slope", values(got.slope), values(want.slope), 0),
    );
  },
};

function differences(quantity: Quantity, reduction: Reduction): Check {
  return {
    family,
    name: `${quantity}, ${reduction}: gradient against central differences`,
    run(engine) {
      const b = gaussianBatch(3, 7, { masked: true });
      const objective = (mean: ArrayLike<number>) =>
        reference({ ...b, mean }, quantity, reduction).reduce(
          (sum, x, s) => sum + x * b.dOut[s]!,
          0,
        );
      const want = finiteDifference(objective, b.mean);
      return close("dMean", values(callGaussian(engine, b, quantity, reduction).dMean), want, 1e-5);
    },
  };
}

/** Sizes on both sides of a vector, of what a CUDA block and a CPU chunk take, and none. */
function shapes(device: Engine["device"]): [samples: number, width: number][] {
  const wide = device === "emulated" ? 9000 : 100_003;
  return [
    [1, 1],
    [5, 3],
    [40, 4],
    [3, 130],
    [2, 513],
    [2, wide],
    [0, 8],
    [4, 0],
  ];
}

/** Both quantities and reductions, with and without masks, ragged and empty shapes; gradients. */
export function gaussianValueChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [...gaussians.map(golden), oneStd];
  const add = (name: string, quantity: Quantity, reduction: Reduction, make: () => GaussianBatch) =>
    checks.push({
      family,
      name: `${quantity}, ${reduction}, ${name}`,
      run: (engine) => checkGaussian(engine, make(), quantity, reduction),
    });
  for (const quantity of quantities) {
    for (const reduction of reductions) {
      add("[6, 37]", quantity, reduction, () => gaussianBatch(6, 37));
      add("[6, 37] masked", quantity, reduction, () => gaussianBatch(6, 37, { masked: true }));
      checks.push(differences(quantity, reduction));
    }
  }
  for (const [samples, width] of shapes(device)) {
    const make = () => gaussianBatch(samples, width, { masked: width % 2 === 1 });
    add(`shape [${samples}, ${width}]`, "log-prob", "mean", make);
  }
  // In floats (mean - refMean)^2 of means that agree in six digits is still exact to a rounding.
  add("means that nearly agree", "kl", "mean", () => gaussianBatch(4, 50, { away: 1e-6 }));
  add("values 1,000 stds away", "log-prob", "mean", () => gaussianBatch(4, 50, { away: 1e3 }));
  return checks;
}
