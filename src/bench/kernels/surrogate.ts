import { surrogate } from "../../engine/kernels/surrogate.js";
import type { SurrogateResult } from "../../engine/kernels/surrogateArguments.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { surrogate as reference } from "../../reference/surrogate.js";
import { close } from "../../verify/compare.js";
import { Random } from "../../verify/inputs.js";
import { gradientTolerance } from "../../verify/surrogate/compare.js";
import { host, normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { evenOffsets } from "./rows.js";

/** Rows that the reference looks at. */
const checked = 4;
const options = { epsilon: 0.2, epsilonHigh: 0.28, aggregation: "token-sum" } as const;
// Two log-probs and a mask a token in, a gradient out. Ratio: an exp; two products, two bounds, metrics.
const work = { reads: "9*T + 8*R", writes: "4*T", flops: "20*T" };

interface State {
  tokens: Record<"logProb" | "oldLogProb" | "advantage" | "mask", Tensor>;
  rowOffsets: Offsets;
  /** Results of an earlier call, which small calls are given: to make new ones takes longer. */
  out?: SurrogateResult;
}

export const surrogateBench: KernelBench<State> = {
  name: "surrogate",
  about: "clipped policy-gradient loss over ragged rows: loss, gradient and metrics",
  work: { "": work, small: work },
  cases: (): BenchCase[] => [
    {
      variant: "",
      dtype: "f32",
      shape: [16_384, 64],
      sizes: { T: 2 ** 20, R: 16_384 },
      cold: true,
    },
    { variant: "small", dtype: "f32", shape: [64, 16], sizes: { T: 1024, R: 64 }, small: true },
  ],
  inputs(c) {
    const { T, R } = c.sizes as { T: number; R: number };
    const different = Math.min(R, 256);
    const length = T / R;
    const random = new Random(1);
    const logProb = random.normals(different * length).map((x) => -Math.abs(x));
    const oldLogProb = logProb.map((x) => x + 0.3 * random.normal());
    const repeat = R / different;
    const shape = [logProb.length];
    return {
      logProb: host(logProb, "f32", shape, repeat),
      oldLogProb: host(oldLogProb, "f32", shape, repeat),
      mask: host(random.mask(logProb.length, 0.9), "u8", shape, repeat),
      advantage: normals(2, [R], { different }),
    };
  },
  prepare(engine, tensors, c) {
    const tokens = tensors as State["tokens"];
    const rowOffsets = new Offsets(engine, evenOffsets(c.sizes.R!, c.sizes.T!));
    if (!c.small) return { tokens, rowOffsets };
    return { tokens, rowOffsets, out: surrogate(engine, { ...tokens, rowOffsets }, options) };
  },
  run(engine, { tokens, rowOffsets, out }) {
    const made = surrogate(engine, { ...tokens, rowOffsets }, { ...options, out });
    return { loss: made.loss, dLogProb: made.dLogProb, metrics: made.metrics };
  },
  compared: (c) => ({ dLogProb: (checked * c.sizes.T!) / c.sizes.R! }),
  check(got, inputs, c) {
    const tokens = (checked * c.sizes.T!) / c.sizes.R!;
    const first = (name: string) => inputs[name]!.data.subarray(0, tokens) as Float32Array;
    const rows = {
      logProb: first("logProb"),
      oldLogProb: first("oldLogProb"),
      mask: inputs.mask!.data.subarray(0, tokens) as Uint8Array,
      advantage: inputs.advantage!.data.subarray(0, checked) as Float32Array,
      rowOffsets: evenOffsets(checked, tokens),
    };
    const want = reference(rows, options);
    const tolerance = gradientTolerance(options, want.magnitude.dLogProb);
    return close("dLogProb", got.dLogProb!, want.dLogProb, tolerance);
  },
};
