import { adamw } from "../../engine/nn/adamw.js";
import type { Tensor } from "../../engine/tensor.js";
import { adamw as reference } from "../../reference/adamw.js";
import { close, F32_ROUNDING } from "../../verify/compare.js";
import { normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";

const checked = 1024;
const setting = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, step: 10 };

type State = Record<"param" | "grad" | "m" | "v", Tensor>;

export const adamwBench: KernelBench<State> = {
  name: "adamw",
  about: "one step of AdamW over the parameters of one tensor, in place",
  work: { "": { reads: "16*N", writes: "12*N", flops: "14*N", inPlace: true } },
  cases({ device }): BenchCase[] {
    const count = device === "cuda" ? 2 ** 28 : 2 ** 22;
    return [{ variant: "", dtype: "f32", shape: [count], sizes: { N: count }, cold: true }];
  },
  inputs(c) {
    const shape = [c.sizes.N!] as const;
    const different = 2 ** 16;
    const square = normals(4, shape, { different });
    return {
      param: normals(1, shape, { different }),
      grad: normals(2, shape, { different }),
      m: normals(3, shape, { different }),
      v: { ...square, data: square.data.map((x) => x * x) as Float32Array },
    };
  },
  prepare: (_, tensors) => tensors as State,
  run(engine, state) {
    adamw(engine, { tensors: [state], ...setting });
    return { param: state.param };
  },
  compared: () => ({ param: checked }),
  check(got, inputs) {
    const first = (name: string) => inputs[name]!.data.subarray(0, checked);
    const state = { param: first("param"), m: first("m"), v: first("v") };
    const want = reference(state, first("grad"), setting);
    // The betas are floats in the kernel: 1 - beta has lost what beta's rounding is of it.
    const relative = 8 * F32_ROUNDING + F32_ROUNDING / (1 - setting.beta2);
    return close("param", got.param!, want.param, (i) => {
      const root = Math.sqrt(want.v[i]!) + setting.eps;
      const update = (Math.abs(state.m[i]!) + Math.abs(first("grad")[i]!)) / root;
      return 4 * F32_ROUNDING * Math.abs(want.param[i]!) + 4 * relative * setting.lr * (1 + update);
    });
  },
};
