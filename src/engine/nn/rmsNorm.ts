import { checkKeys, checkNumber, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * y = x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, eq. 4).
 *
 * @param x f32 [..., width], width >= 1
 * @param weight f32 [width]
 * @param eps >= 0, inside the root; default 1e-6
 * @returns y as x, and invRms f32 [rows] (one per row of `width`), which the backward pass needs
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function rmsNorm(
  engine: Engine,
  x: TensorLike,
  weight: TensorLike,
  eps = 1e-6,
): { y: Tensor; invRms: Tensor } {
  checkNumber("eps", eps, 0);
  return withInputs(engine, (inputs) => {
    const { input, scale, rows, width } = checkRows(inputs, x, weight);
    const out = { y: inputs.empty(input.shape), invRms: inputs.empty([rows]) };
    engine.addon.rmsNormForward(
      engine.handle,
      rows,
      width,
      eps,
      handle(input),
      handle(scale),
      handle(out.y),
      handle(out.invRms),
    );
    return out;
  });
}

export interface RmsNormBackwardInputs {
  /** f32 [..., width], of the forward call. */
  x: TensorLike;
  weight: TensorLike;
  /** f32 [rows] of the forward call. */
  invRms: TensorLike;
  /** As x: gradient with respect to y. */
  dY: TensorLike;
}

/**
 * Gradients with respect to x and weight; the latter sums over rows in their order.
 *
 * @throws FiresteelError as `rmsNorm`
 */
export function rmsNormBackward(
  engine: Engine,
  args: RmsNormBackwardInputs,
): { dX: Tensor; dWeight: Tensor } {
  checkKeys("the argument", args, ["x", "weight", "invRms", "dY"]);
  return withInputs(engine, (inputs) => {
    const { input, scale, rows, width } = checkRows(inputs, args.x, args.weight);
    const invRms = inputs.tensor("invRms", args.invRms, "f32", [rows]);
    const dY = inputs.tensor("dY", args.dY, "f32", input.shape);
    const out = { dX: inputs.empty(input.shape), dWeight: inputs.empty([width]) };
    engine.addon.rmsNormBackward(
      engine.handle,
      rows,
      width,
      handle(input),
      handle(scale),
      handle(invRms),
      handle(dY),
      handle(out.dX),
      handle(out.dWeight),
    );
    return out;
  });
}

function checkRows(inputs: Inputs, x: TensorLike, weight: TensorLike) {
  const scale = inputs.tensor("weight", weight, "f32", [null]);
  const width = scale.size;
  const input = inputs.tensor("x", x, "f32", null);
  if (width === 0 || input.shape.at(-1) !== width) {
    const expected = `a last dimension of ${Math.max(width, 1)}`;
    throw invalid("ERR_SHAPE", "x", expected, `[${input.shape.join(", ")}]`);
  }
  return { input, scale, rows: input.size / width, width };
}
