import { flowCoefficients } from "../../engine/kernels/flowCoefficients.js";
import { flowStep } from "../../engine/kernels/flowStep.js";
import { gaussianTolerances } from "../../engine/kernels/gaussianTable.js";
import type { Tensor } from "../../engine/tensor.js";
import { flowMean } from "../../reference/flowStep.js";
import { close } from "../../verify/compare.js";
import { normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";

const samples = 64;
const width = 16 * 64 * 64; // latents of an image of 512 x 512
const schedule = { sigma: 0.8, sigmaNext: 0.7 } as const;
const noise = { kind: "sde", noiseLevel: 0.7 } as const;
/** Elements that the reference looks at: of the first sample. */
const checked = 1;

export const flowStepBench: KernelBench<Record<"x" | "v" | "noise", Tensor>> = {
  name: "flow-step",
  about: "one step of a flow model by an SDE: what is drawn, its mean and its log-prob",
  work: { "": { reads: "12*B*D", writes: "8*B*D", flops: "9*B*D" } },
  cases: (): BenchCase[] => [
    { variant: "", dtype: "f32", shape: [samples, width], sizes: { B: samples, D: width } },
  ],
  inputs(c) {
    const shape = [c.sizes.B!, c.sizes.D!] as const;
    const different = 2;
    return {
      x: normals(1, shape, { different }),
      v: normals(2, shape, { different }),
      noise: normals(3, shape, { different }),
    };
  },
  prepare: (_, tensors) => tensors as Record<"x" | "v" | "noise", Tensor>,
  run(engine, { x, v, noise: drawn }) {
    const { next, mean, logProb, std, slope, vScale } = flowStep(
      engine,
      { x, v, noise: drawn, ...schedule },
      noise,
    );
    return { next, mean, logProb, std, slope, vScale };
  },
  compared: () => ({ mean: checked }),
  check(got, { x, v }, c) {
    const D = c.sizes.D!;
    const [latents, velocities] = [x!.data.subarray(0, D), v!.data.subarray(0, D)];
    const want = Float64Array.from(latents, (value, i) =>
      flowMean({ x: value, v: velocities[i]!, ...schedule }, noise),
    );
    const coefficients = flowCoefficients(schedule, noise);
    const size = (i: number) =>
      Math.abs(coefficients.x[0]! * latents[i]!) + Math.abs(coefficients.v[0]! * velocities[i]!);
    return close("mean", got.mean!, want, (i) => gaussianTolerances.mean * size(i) + 1e-37);
  },
};
