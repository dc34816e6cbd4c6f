import { linearLogProb, linearLogProbBackward } from "../../engine/kernels/linearLogProb.js";
import { type OperandType, roundings } from "../../engine/kernels/linearLogProbTable.js";
import { forwardTolerances } from "../../engine/kernels/logProbTable.js";
import type { Tensor } from "../../engine/tensor.js";
import {
  headRows,
  linearLogProbGradient,
  linearLogProb as reference,
} from "../../reference/linearLogProb.js";
import { distribution } from "../../reference/logProb.js";
import { firstOf } from "../../verify/check.js";
import { close, F32_ROUNDING } from "../../verify/compare.js";
import { type Float, Random, widen } from "../../verify/inputs.js";
import { host, type Inputs, normals } from "../inputs.js";
import type { BenchCase, KernelBench, Made, Setting } from "../kernel.js";

/** A few rows of hidden states, and words of the head, over and over. */
const different = 4;
const repeats = 32;
/** Rows of d hidden that the reference looks at. */
const checked = 1;

/** Qwen2.5-0.5B's width; its whole vocabulary where that is asked for, 4096 x 128256 on a card. */
export function headSizes({ device, full }: Setting): { T: number; V: number; H: number } {
  if (device === "cuda") return { T: 4096, V: 128_256, H: 4096 };
  return full ? { T: 1024, V: 151_936, H: 896 } : { T: 256, V: 32_000, H: 896 };
}

type State = Record<"hidden" | "weight" | "targets" | "dLogProb", Tensor>;

export const linearLogProbBench: KernelBench<State> = {
  name: "linear-log-prob",
  about: "log-probs from hidden states and a head, without ever holding the logits",
  work: {
    forward: { reads: "b*T*H + b*V*H + 4*T", writes: "12*T", flops: "2*T*V*H" },
    // Two calls that hold no logits between them: made twice, then two products with their gradient.
    "forward and backward": {
      reads: "2*b*T*H + 2*b*V*H + 16*T",
      writes: "12*T + 4*T*H + 4*V*H",
      flops: "8*T*V*H",
    },
  },
  cases(setting): BenchCase[] {
    const sizes = headSizes(setting);
    const shape = [sizes.T, sizes.H, sizes.V];
    return (["f32", "bf16"] as const).flatMap((dtype) =>
      ["forward", "forward and backward"].map((variant) => ({ variant, dtype, shape, sizes })),
    );
  },
  inputs(c) {
    const { T, V, H } = c.sizes as { T: number; V: number; H: number };
    const { dtype } = c;
    const random = new Random(4);
    const repeat = T / different;
    const targets = Int32Array.from({ length: different }, () => random.integer(V / repeats));
    return {
      hidden: normals(2, [T, H], { dtype, different, scale: 2 / Math.sqrt(H) }),
      weight: normals(3, [V, H], { dtype, different: V / repeats }),
      targets: host(targets, "i32", [different], repeat),
      dLogProb: host(random.normals(different), "f32", [different], repeat),
    };
  },
  prepare: (_, tensors) => tensors as State,
  run(engine, { hidden, weight, targets, dLogProb }, c): Made {
    const { logProb, stats } = linearLogProb(engine, hidden, weight, targets);
    if (c.variant === "forward") return { logProb, stats };
    const args = { hidden, weight, targets, stats, dLogProb };
    const { dHidden, dWeight } = linearLogProbBackward(engine, args);
    return { logProb, stats, dHidden, dWeight: dWeight! };
  },
  compared(c): Record<string, number> {
    const both = c.variant !== "forward";
    return { logProb: different, ...(both && { dHidden: checked, dWeight: 2 }) };
  },
  check(got, inputs, c, device) {
    const head = headOf(inputs, c);
    // Every word stands there as often as any other: the same softmax, spread over the copies.
    const want = reference(head).logProb.map((x) => x - Math.log(repeats));
    const backend = device === "cpu" ? "cpu" : "cuda";
    // A logit is off by n 2^-24 sum |h w|; logsumexp and the target's move by at most that each.
    const size = Math.sqrt(c.sizes.H!) * 2 * 5; // |h| |w| as drawn, five deviations of |h w|
    const moved =
      roundings(c.sizes.H!, c.dtype as OperandType, "logits", device) * F32_ROUNDING * size;
    const tolerance = forwardTolerances.logProb[backend] * (10 + size) + 2 * moved;
    return firstOf(
      close("logProb", got.logProb!, want, tolerance),
      got.dHidden ? checkGradients(got.dHidden, got.dWeight!, inputs, c, moved) : null,
    );
  },
};

function headOf(inputs: Inputs, c: BenchCase) {
  const numbers = (name: "hidden" | "weight") => widen(inputs[name]!.data, c.dtype as Float);
  const targets = inputs.targets!.data as Int32Array;
  return { hidden: numbers("hidden"), weight: numbers("weight"), width: c.sizes.H!, targets };
}

/** d hidden of the first row; d weight of the first two words, which sums over all rows. */
function checkGradients(
  dHidden: Float64Array,
  dWeight: Float64Array,
  inputs: Inputs,
  c: BenchCase,
  moved: number,
): string | null {
  const head = headOf(inputs, c);
  const { hidden, width: H, targets } = head;
  const { T, V } = c.sizes as { T: number; V: number };
  const above = inputs.dLogProb!.data;
  const rows = headRows(head);
  const want = linearLogProbGradient(head, above).dHidden.subarray(0, H);
  const sizeH = new Float64Array(H);
  const [dW, sizeW] = [new Float64Array(2 * H), new Float64Array(2 * H)];
  for (let t = 0; t < different; ++t) {
    const { p } = distribution(rows, t);
    for (let v = 0; v < p!.length; ++v) {
      const chosen = v === targets[t] ? 1 : 0;
      for (let i = 0; i < H && t === 0; ++i) {
        sizeH[i]! += Math.abs(above[t]! * (chosen + p![v]!) * head.weight[v * H + i]!);
      }
      for (let i = 0; i < H && v < 2; ++i) {
        const h = (T / different) * above[t]! * hidden[t * H + i]!;
        dW[v * H + i]! += (chosen - p![v]! / repeats) * h;
        sizeW[v * H + i]! += Math.abs((chosen + p![v]! / repeats) * h);
      }
    }
  }
  // Probabilities are off by what moves the logits, sums by a rounding a term; 16-bit rows of gradients
  // are rounded to their dtype before the products.
  const rounding = c.dtype === "f32" ? 0 : 2 ** -8;
  const share = (terms: number) => 2 * moved + 1e-6 + rounding + Math.sqrt(terms) * F32_ROUNDING;
  return firstOf(
    close("dHidden", dHidden, want, (i) => share(V) * sizeH[i]! + 1e-30),
    close("dWeight", dWeight, dW, (i) => share(T) * sizeW[i]! + 1e-30),
  );
}
