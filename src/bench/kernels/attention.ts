import { attention, attentionBackward } from "../../engine/nn/attention.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { attentionGradient, attention as reference } from "../../reference/attention.js";
import { firstOf } from "../../verify/check.js";
import { close, F32_ROUNDING } from "../../verify/compare.js";
import { type Inputs, normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { evenOffsets } from "./rows.js";

const rows = 4;
const sizes = { R: rows, L: 512, N: 8, M: 2, D: 64 };
const shape = [sizes.R, sizes.L, sizes.N, sizes.D];
/** Tokens of the first row that the reference looks at: under a causal mask they stand by themselves. */
const checked = 64;

type Given = Record<"q" | "k" | "v" | "dOut", Tensor>;

interface State {
  given: Given;
  offsets: Offsets;
  /** For the backward call. */
  forward: { out: Tensor; stats: Tensor } | null;
}

export const attentionBench: KernelBench<State> = {
  name: "attention",
  about: "causal softmax attention over rows, with fewer key heads than heads",
  work: {
    // Half of the L x L scores of a head: q.k and weights.v, two flops a product.
    forward: {
      reads: "4*R*L*N*D + 8*R*L*M*D",
      writes: "4*R*L*N*D + 8*R*L*N",
      flops: "2*R*L*L*N*D",
    },
    // Scores again, d weights, d q, d k and d v.
    backward: {
      reads: "12*R*L*N*D + 8*R*L*M*D + 8*R*L*N",
      writes: "4*R*L*N*D + 8*R*L*M*D",
      flops: "5*R*L*L*N*D",
    },
  },
  cases: (): BenchCase[] =>
    ["forward", "backward"].map((variant) => ({ variant, dtype: "f32", shape, sizes })),
  inputs(c) {
    const { R, L, N, M, D } = c.sizes as typeof sizes;
    return {
      q: normals(1, [R * L, N, D]),
      k: normals(2, [R * L, M, D]),
      v: normals(3, [R * L, M, D]),
      dOut: normals(4, [R * L, N, D]),
    };
  },
  prepare(engine, tensors, c) {
    const given = tensors as Given;
    const offsets = new Offsets(engine, evenOffsets(c.sizes.R!, c.sizes.R! * c.sizes.L!));
    const forward = c.variant === "forward" ? null : attend(engine, given, offsets);
    return { given, offsets, forward };
  },
  run(engine, { given, offsets, forward }) {
    if (forward === null) return attend(engine, given, offsets);
    return attentionBackward(engine, { ...given, rowOffsets: offsets, ...forward });
  },
  compared: (c): Record<string, number> =>
    c.variant === "forward" ? { out: checked } : { dQ: checked },
  check(got, inputs, c) {
    const { N, M, D } = c.sizes as typeof sizes;
    const first = (name: keyof Given, heads: number) =>
      inputs[name]!.data.subarray(0, checked * heads * D) as Float32Array;
    const [q, k, v, dOut] = [first("q", N), first("k", M), first("v", M), first("dOut", N)];
    const offsets = [0, checked];
    const heads = { heads: N, kvHeads: M, headDim: D, queryOffsets: offsets, keyOffsets: offsets };
    // A score's error is a few roundings of |q| |k| / sqrt(D); out is a weighted mean of v, and d q one
    // of k, weighted by |d out| |v|.
    const score = (longest(q, D) * longest(k, D)) / Math.sqrt(D);
    const relative = F32_ROUNDING * (8 + 4 * score);
    const dWeight = (longest(dOut, D) * longest(v, D)) / Math.sqrt(D);
    return firstOf(
      got.out ? close("out", got.out, reference(q, k, v, heads), relative * largest(v)) : null,
      got.dQ
        ? close(
            "dQ",
            got.dQ,
            attentionGradient(q, k, v, dOut, heads).dQ,
            2 * relative * dWeight * largest(k),
          )
        : null,
    );
  },
};

function attend(engine: Parameters<typeof attention>[0], { q, k, v }: Given, offsets: Offsets) {
  const bounds = { queryOffsets: offsets, keyOffsets: offsets };
  const { out, stats } = attention(engine, { q, k, v, ...bounds, stats: true });
  return { out, stats: stats! };
}

const largest = (x: Float32Array) => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Norm of the longest vector of D numbers. */
function longest(x: Inputs[string]["data"], D: number): number {
  let most = 0;
  for (let i = 0; i < x.length; i += D) most = Math.max(most, Math.hypot(...x.subarray(i, i + D)));
  return most;
}
