import { checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import type { Engine } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * total[0] += the sum of x's squares, in float64 and a fixed order.
 *
 * @param x f32, any shape
 * @param total f64 [1]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function sumSquares(engine: Engine, x: Tensor, total: Tensor): void {
  withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, "f32", null);
    const sum = inputs.tensor("total", total, "f64", [1]);
    engine.addon.sumSquares(engine.handle, input.size, handle(input), handle(sum));
  });
}

export interface AdamwInputs {
  /** f32, any shape; updated in place. */
  param: Tensor;
  /** f32, as param. */
  grad: Tensor;
  /** f32, as param: running means of the gradient and its square; updated in place. */
  m: Tensor;
  v: Tensor;
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
 * One step of Adam with decoupled weight decay (Loshchilov & Hutter 2019, alg. 2). Where the norm in
 * `gradSquare` is not finite, nothing is changed.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED
 */
export function adamw(engine: Engine, args: AdamwInputs): void {
  const tensors = ["param", "grad", "m", "v", "gradSquare"];
  const numbers = ["lr", "beta1", "beta2", "eps", "weightDecay", "step", "maxGradNorm"];
  checkKeys("the argument", args, [...tensors, ...numbers]);
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
  withInputs(engine, (inputs) => {
    const param = inputs.tensor("param", args.param, "f32", null);
    const grad = inputs.tensor("grad", args.grad, "f32", param.shape);
    const m = inputs.tensor("m", args.m, "f32", param.shape);
    const v = inputs.tensor("v", args.v, "f32", param.shape);
    const gradSquare = inputs.optional("gradSquare", args.gradSquare, "f64", [1]);
    engine.addon.adamw(
      engine.handle,
      param.size,
      lr,
      beta1,
      beta2,
      eps,
      weightDecay,
      1 - beta1 ** step,
      1 - beta2 ** step,
      maxGradNorm,
      handle(param),
      handle(grad),
      handle(m),
      handle(v),
      handle(gradSquare),
    );
  });
}
