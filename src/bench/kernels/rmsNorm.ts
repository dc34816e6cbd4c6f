import { rmsNorm, rmsNormBackward } from "../../engine/nn/rmsNorm.js";
import type { Tensor } from "../../engine/tensor.js";
import { rmsNorm as reference, rmsNormGradient } from "../../reference/rmsNorm.js";
import { firstOf } from "../../verify/check.js";
import { close, F32_ROUNDING } from "../../verify/compare.js";
import { normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";

const sizes = { R: 4096, W: 896 };
const checked = 4;
const different = 64;
const eps = 1e-6;

interface State {
  given: Record<"x" | "weight" | "dY", Tensor>;
  /** For the backward call. */
  invRms: Tensor | null;
}

export const rmsNormBench: KernelBench<State> = {
  name: "rms-norm",
  about: "root mean square normalisation of hidden states, and its gradient",
  work: {
    forward: { reads: "4*R*W + 4*W", writes: "4*R*W + 4*R", flops: "4*R*W" },
    backward: { reads: "8*R*W + 4*W + 4*R", writes: "4*R*W + 4*W", flops: "9*R*W" },
  },
  cases: (): BenchCase[] =>
    ["forward", "backward"].map((variant) => {
      return { variant, dtype: "f32", shape: [sizes.R, sizes.W], sizes, cold: true };
    }),
  inputs(c) {
    const { R, W } = c.sizes as typeof sizes;
    return {
      x: normals(1, [R, W], { different }),
      weight: normals(2, [W]),
      dY: normals(3, [R, W], { different }),
    };
  },
  prepare(engine, tensors, c) {
    const given = tensors as State["given"];
    const backward = c.variant === "backward";
    return {
      given,
      invRms: backward ? rmsNorm(engine, given.x, given.weight, { eps }).invRms : null,
    };
  },
  run(engine, { given: { x, weight, dY }, invRms }) {
    if (invRms === null) {
      const made = rmsNorm(engine, x, weight, { eps });
      return { y: made.y, invRms: made.invRms };
    }
    return rmsNormBackward(engine, { x, weight, invRms, dY });
  },
  compared: (c): Record<string, number> =>
    c.variant === "forward" ? { y: checked } : { dX: checked },
  check(got, inputs, c) {
    const W = c.sizes.W!;
    const first = (name: string) => inputs[name]!.data.subarray(0, checked * W);
    const [x, dY, weight] = [first("x"), first("dY"), inputs.weight!.data];
    const { y, inverse } = reference(x, weight, eps);
    // Sums of W terms in floats lose some roundings more, the more terms there are.
    const relative = F32_ROUNDING * (8 + Math.sqrt(W));
    const size = (i: number) => {
      const r = Math.floor(i / W);
      let dot = 0;
      for (let j = r * W; j < (r + 1) * W; ++j) dot += Math.abs(dY[j]! * weight[j % W]! * x[j]!);
      const own = Math.abs(dY[i]! * weight[i % W]!);
      return (own + (Math.abs(x[i]!) * dot * inverse[r]! ** 2) / W) * inverse[r]!;
    };
    return firstOf(
      got.y ? close("y", got.y, y, (i) => relative * Math.abs(y[i]!)) : null,
      got.dX
        ? close("dX", got.dX, rmsNormGradient(x, weight, eps, dY).dX, (i) => relative * size(i))
        : null,
    );
  },
};
