import { checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes, type Float, floats } from "../dtype.js";
import type { Engine } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import { Tensor } from "../tensor.js";

/** Tensors that one native call takes: kSquaresTensors and kAdamwTensors of native/nn/adamw. */
const squaresPerCall = 32;
const tensorsPerCall = 10;

/**
 * total[0] += the sum of the squares of all elements, in float64 and a fixed order.
 *
 * @param x f32, any shape; or several
 * @param total f64 [1]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function sumSquares(engine: Engine, x: Tensor | readonly Tensor[], total: Tensor): void {
  const tensors = x instanceof Tensor ? [x] : x;
  if (!Array.isArray(tensors)) throw invalid("ERR_DTYPE", "x", "a tensor or an array of them", x);
  withInputs(engine, (inputs) => {
    const sum = inputs.tensor("total", total, "f64", [1]);
    const all = tensors.map((one, i) => {
      return inputs.tensor(one === x ? "x" : `x[${i}]`, one, "f32", null);
    });
    for (const part of chunks(all, squaresPerCall)) {
      const arrays = part.flatMap((one) => [one.size, handle(one)]);
      engine.addon.sumSquares(engine.handle, part.length, handle(sum), ...arrays);
    }
  });
}

/** A parameter and what goes with it; all of its shape. */
export interface AdamwTensors {
  /** f32, bf16 or f16; updated in place. */
  param: Tensor;
  /** f32, where param has 16 bits and only there: its exact value, of which it is the rounding. */
  master?: Tensor;
  /** f32. */
  grad: Tensor;
  /** f32: running means of the gradient and its square; updated in place. */
  m: Tensor;
  v: Tensor;
}

export interface AdamwInputs {
  /** Parameters of one dtype. */
  tensors: readonly AdamwTensors[];
  /** Learning rate, >= 0. */
  lr: number;
  /** Decay of the moments, each in [0, 1). */
  beta1: number;
  beta2: number;
  /** Added to the root of the second moment; > 0. */
  eps: number;
  /** Decoupled decay, >= 0. */
  weightDecay: number;
  /** The number of this step, from 1 on. */
  step: number;
  /** f64 [1]: squared norm of all gradients together; needed for clipping. */
  gradSquare?: Tensor;
  /** Gradients are scaled by min(1, maxGradNorm / (norm + 1e-6)); > 0. */
  maxGradNorm?: number;
}

/**
 * One step of Adam with decoupled weight decay (Loshchilov & Hutter 2019, alg. 2) over several
 * parameters, a launch for every ten. The masters of 16-bit parameters take, to the last bit, the step
 * that float32 parameters would; the parameters are rounded from them, to nearest even. Where the norm
 * in `gradSquare` is not finite, nothing is changed.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED
 */
export function adamw(engine: Engine, args: AdamwInputs): void {
  const numbers = ["lr", "beta1", "beta2", "eps", "weightDecay", "step", "maxGradNorm"];
  checkKeys("the argument", args, ["tensors", "gradSquare", ...numbers]);
  const lr = checkNumber("lr", args.lr, 0, 1e30);
  // In float32 a larger beta would be 1.
  const beta1 = checkNumber("beta1", args.beta1, 0, 1 - 2 ** -24);
  const beta2 = checkNumber("beta2", args.beta2, 0, 1 - 2 ** -24);
  const eps = checkNumber("eps", args.eps, 1e-37, 1e30);
  const weightDecay = checkNumber("weightDecay", args.weightDecay, 0, 1e30);
  const step = checkInteger("step", args.step, 1, Number.MAX_SAFE_INTEGER);
  if ((args.gradSquare === undefined) !== (args.maxGradNorm === undefined)) {
    const expected = "both gradSquare and maxGradNorm, or neither,";
    throw invalid("ERR_OPTION", "maxGradNorm", expected, args.maxGradNorm);
  }
  const maxGradNorm = checkNumber("maxGradNorm", args.maxGradNorm ?? 1, 1e-37, 3e38);
  if (!Array.isArray(args.tensors)) {
    throw invalid("ERR_OPTION", "tensors", "an array", args.tensors);
  }
  withInputs(engine, (inputs) => {
    const gradSquare = inputs.optional("gradSquare", args.gradSquare, "f64", [1]);
    const first: unknown = args.tensors[0]?.param;
    const dtype = (first instanceof Tensor ? first.dtype : "f32") as Float;
    const all = args.tensors.map((one, i) => {
      const at = `tensors[${i}]`;
      checkKeys(at, one, ["param", "master", "grad", "m", "v"]);
      const param = inputs.tensor(`${at}.param`, one.param, i === 0 ? floats : dtype, null);
      const like = (name: "master" | "grad" | "m" | "v") =>
        inputs.tensor(`${at}.${name}`, one[name]!, "f32", param.shape);
      if ((one.master === undefined) !== (dtype === "f32")) {
        const expected = dtype === "f32" ? `nothing (param is ${dtype})` : "a tensor";
        throw invalid("ERR_OPTION", `${at}.master`, expected, one.master);
      }
      const weight = one.master === undefined ? param : like("master");
      const states = [weight, like("grad"), like("m"), like("v")];
      return [...states, ...(one.master === undefined ? [] : [param])];
    });
    for (const part of chunks(all, tensorsPerCall)) {
      engine.addon.adamw(
        engine.handle,
        part.length,
        dtypes[dtype].code,
        lr,
        beta1,
        beta2,
        eps,
        weightDecay,
        1 - beta1 ** step,
        1 - beta2 ** step,
        maxGradNorm,
        handle(gradSquare),
        ...part.flatMap((states) => [states[0]!.size, ...states.map((tensor) => handle(tensor))]),
      );
    }
  });
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  const count = Math.ceil(all.length / size);
  return Array.from({ length: count }, (_, i) => all.slice(i * size, (i + 1) * size));
}
