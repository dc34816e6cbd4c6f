import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import type { Tensor } from "../../engine/tensor.js";
import { logProbGradient, logProb as reference } from "../../reference/logProb.js";
import { firstOf } from "../../verify/check.js";
import { close } from "../../verify/compare.js";
import { type Float, logitRows, Random, targetsOf, typed, widen } from "../../verify/inputs.js";
import {
  backwardTolerance,
  forwardTolerance,
  type LogProbCase,
  rowsOf,
} from "../../verify/logProb/cases.js";
import { host, type Inputs } from "../inputs.js";
import type { BenchCase, KernelBench, Made } from "../kernel.js";

export const vocab = 151_936; // Qwen's, the largest in common use
/** Different rows; the others repeat them. */
export const different = 4;
/** Rows that the reference looks at. */
export const checked = 2;

/** Rows as a language model has them, with targets and a gradient from above. */
export function logitInputs(dtype: Float, tokens: number, width = vocab): Inputs {
  const random = new Random(1);
  const { data, numbers } = typed(logitRows(random, different, width), dtype);
  const repeat = tokens / different;
  return {
    logits: host(data, dtype, [different, width], repeat),
    targets: host(targetsOf(random, numbers, width), "i32", [different], repeat),
    dLogProb: host(random.normals(different), "f32", [different], repeat),
  };
}

/** The first rows as a case of their own, for the reference. */
export function firstRows(inputs: Inputs, rows = checked): LogProbCase {
  const { logits, targets, dLogProb } = inputs as Record<string, NonNullable<Inputs[string]>>;
  const width = logits!.shape[1]!;
  const data = logits!.data.slice(0, rows * width) as Float32Array | Uint16Array;
  const dtype = logits!.dtype as Float;
  return {
    dtype,
    vocab: width,
    logits: { data, numbers: widen(data, dtype) },
    targets: targets!.data.slice(0, rows) as Int32Array,
    temperature: 1,
    mask: null,
    dLogProb: dLogProb!.data.slice(0, rows) as Float32Array,
    dEntropy: null,
  };
}

interface State {
  logits: Tensor;
  targets: Tensor;
  dLogProb: Tensor;
  /** For the backward call. */
  stats: Tensor | null;
}

const variants = ["forward", "forward and entropy", "backward in place"] as const;

export const logProbBench: KernelBench<State> = {
  name: "log-prob",
  about:
    "log-probs of targets from logits in memory, with entropy, and the gradient over the logits",
  work: {
    // Target in, log-prob and two statistics out. x - m, scaled, exp, sum.
    forward: { reads: "b*T*V + 4*T", writes: "12*T", flops: "4*T*V" },
    "forward and entropy": { reads: "b*T*V + 4*T", writes: "16*T", flops: "6*T*V" },
    // Target, two statistics and the gradient from above in. x - m, scaled, exp, times.
    "backward in place": {
      reads: "b*T*V + 16*T",
      writes: "b*T*V",
      flops: "4*T*V",
      inPlace: true,
    },
  },
  cases({ device }): BenchCase[] {
    const tokens = device === "cuda" ? 8192 : 256;
    const sizes = { T: tokens, V: vocab };
    return (["f32", "bf16", "f16"] as const).flatMap((dtype) =>
      variants.map((variant) => ({ variant, dtype, shape: [tokens, vocab], sizes })),
    );
  },
  inputs: (c) => logitInputs(c.dtype, c.sizes.T!, c.sizes.V),
  prepare(engine, tensors, c) {
    const { logits, targets, dLogProb } = tensors as Record<string, Tensor>;
    const stats =
      c.variant === "backward in place" ? logProb(engine, logits!, targets!).stats : null;
    return { logits: logits!, targets: targets!, dLogProb: dLogProb!, stats };
  },
  run(engine, { logits, targets, dLogProb, stats }, c): Made {
    if (stats === null) {
      const entropy = c.variant === "forward and entropy";
      const out = logProb(engine, logits, targets, { entropy });
      return { logProb: out.logProb, stats: out.stats, ...(entropy && { entropy: out.entropy! }) };
    }
    const args = { logits, targets, stats, dLogProb, out: logits };
    return { dLogits: logProbBackward(engine, args) };
  },
  compared(c): Record<string, number> {
    if (c.variant === "backward in place") return { dLogits: checked };
    return c.variant === "forward" ? { logProb: checked } : { logProb: checked, entropy: checked };
  },
  check(got, inputs) {
    const first = firstRows(inputs);
    const want = reference(rowsOf(first));
    const gradient = () => logProbGradient(rowsOf(first), first.dLogProb);
    const tolerance = forwardTolerance(first);
    return firstOf(
      got.logProb ? close("logProb", got.logProb, want.logProb, tolerance) : null,
      got.entropy ? close("entropy", got.entropy, want.entropy, tolerance) : null,
      got.dLogits ? close("dLogits", got.dLogits, gradient(), backwardTolerance(first)) : null,
    );
  },
};
