import { matmul } from "../../engine/nn/matmul.js";
import type { Tensor } from "../../engine/tensor.js";
import { matmul as reference } from "../../reference/matmul.js";
import { close, F32_ROUNDING } from "../../verify/compare.js";
import { normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { headSizes } from "./linearLogProb.js";

/** Rows that the reference looks at. */
const checked = 2;
const work = { reads: "4*M*K + 4*K*N", writes: "4*M*N", flops: "2*M*N*K" };

export const matmulBench: KernelBench<Record<"a" | "b", Tensor>> = {
  name: "matmul",
  about: "f32 matrix products; head: that of linear-log-prob, with the logits written",
  work: { square: work, head: work },
  cases(setting): BenchCase[] {
    const { T, V, H } = headSizes(setting);
    const square = (n: number) => ({ M: n, N: n, K: n });
    return [
      { variant: "square", sizes: square(512) },
      { variant: "square", sizes: square(1024) },
      ...(setting.device === "cuda" ? [{ variant: "square", sizes: square(8192) }] : []),
      { variant: "head", sizes: { M: T, N: V, K: H } },
    ].map((c) => ({ ...c, dtype: "f32" as const, shape: [c.sizes.M, c.sizes.K, c.sizes.N] }));
  },
  inputs(c) {
    const { M, N, K } = c.sizes as { M: number; N: number; K: number };
    return {
      a: normals(1, [M, K], { different: 16 }),
      // As linear layers have their weight.
      b:
        c.variant === "head"
          ? normals(2, [N, K], { different: 16 })
          : normals(2, [K, N], { different: 16 }),
    };
  },
  prepare: (_, tensors) => tensors as Record<"a" | "b", Tensor>,
  run(engine, { a, b }, c) {
    return { product: matmul(engine, a, b, { transposeB: c.variant === "head" }) };
  },
  compared: () => ({ product: checked }),
  check(got, { a, b }, c) {
    const { N, K } = c.sizes as { N: number; K: number };
    const rows = a!.data.subarray(0, checked * K);
    const all = repeated(b!.data as Float32Array, b!.repeat ?? 1);
    const shape = { m: checked, n: N, k: K, transposeB: c.variant === "head" };
    const want = reference(rows, all, shape);
    const sizes = reference(rows.map(Math.abs), all.map(Math.abs), shape);
    // Adding K products in floats one by one is off by at most K / 2 roundings, on average a root of it.
    const tolerance = (8 + Math.sqrt(K)) * F32_ROUNDING;
    return close("product", got.product!, want, (i) => tolerance * sizes[i]!);
  },
};

function repeated(data: Float32Array, times: number): Float32Array {
  const out = new Float32Array(data.length * times);
  for (let i = 0; i < times; ++i) out.set(data, i * data.length);
  return out;
}
