import { checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/** Choices of `rmsNorm`. */
export interface RmsNormOptions {
  /** Inside the root; >= 0, default 1e-6. */
  eps?: number;
  /** As x: added to it before the norm, in the same pass. */
  residual?: TensorLike;
}

/** What `rmsNorm` makes. */
export interface RmsNormResult {
  /** As x. */
  y: Tensor;
  /** f32 [rows], one per row of `width`: what the backward pass needs. */
  invRms: Tensor;
  /** x + residual, as x, which is what was normalised; null where there is no residual. */
  sum: Tensor | null;
}

/**
 * y = x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, eq. 4), and
 * the residual stream that x may be added to. Computed in float32; 16-bit results are rounded once,
 * and a 16-bit sum is normalised as it was rounded.
 *
 * @param x f32, bf16 or f16 [..., width], width >= 1
 * @param weight as x, [width]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function rmsNorm(
  engine: Engine,
  x: TensorLike,
  weight: TensorLike,
  options: RmsNormOptions = {},
): RmsNormResult {
  checkKeys("options", options, ["eps", "residual"]);
  const eps = checkNumber("eps", options.eps ?? 1e-6, 0);
  return withInputs(engine, (inputs) => {
    const { input, scale, rows, width } = checkRows(inputs, x, weight);
    const { shape, dtype } = input;
    const residual = inputs.optional("residual", options.residual, dtype, shape);
    const out = {
      y: inputs.empty(shape, dtype),
      invRms: inputs.empty([rows]),
      sum: residual === null ? null : inputs.empty(shape, dtype),
    };
    engine.addon.rmsNormForward(
      engine.handle,
      dtypes[dtype].code,
      rows,
      width,
      eps,
      handle(input),
      handle(residual),
      handle(scale),
      handle(out.y),
      handle(out.invRms),
      handle(out.sum),
    );
    return out;
  });
}

/** What `rmsNormBackward` takes. */
export interface RmsNormBackwardInputs {
  /** f32, bf16 or f16 [..., width]: what was normalised, `sum` where there was a residual. */
  x: TensorLike;
  /** As x, [width]. */
  weight: TensorLike;
  /** f32 [rows] of the forward call. */
  invRms: TensorLike;
  /** As x: gradient with respect to y. */
  dY: TensorLike;
  /** As x: what reaches `sum` on other ways, added to dX in the same pass. */
  dSum?: TensorLike;
}

/**
 * Gradients with respect to x (where there was a residual: to both, they are the same) and weight. The
 * latter is summed over runs of rows and then over the runs, in order: no bit depends on the threads.
 *
 * @returns dX as x; dWeight f32 [width]
 * @throws FiresteelError as `rmsNorm`
 */
export function rmsNormBackward(
  engine: Engine,
  args: RmsNormBackwardInputs,
): { dX: Tensor; dWeight: Tensor } {
  checkKeys("the argument", args, ["x", "weight", "invRms", "dY", "dSum"]);
  return withInputs(engine, (inputs) => {
    const { input, scale, rows, width } = checkRows(inputs, args.x, args.weight);
    const { shape, dtype } = input;
    const invRms = inputs.tensor("invRms", args.invRms, "f32", [rows]);
    const dY = inputs.tensor("dY", args.dY, dtype, shape);
    const dSum = inputs.optional("dSum", args.dSum, dtype, shape);
    const out = { dX: inputs.empty(shape, dtype), dWeight: inputs.empty([width]) };
    engine.addon.rmsNormBackward(
      engine.handle,
      dtypes[dtype].code,
      rows,
      width,
      handle(input),
      handle(scale),
      handle(invRms),
      handle(dY),
      handle(dSum),
      handle(out.dX),
      handle(out.dWeight),
    );
    return out;
  });
}

function checkRows(inputs: Inputs, x: TensorLike, weight: TensorLike) {
  const scale = inputs.tensor("weight", weight, floats, [null]);
  const width = scale.size;
  const input = inputs.tensor("x", x, scale.dtype, null);
  if (width === 0 || input.shape.at(-1) !== width) {
    const expected = `a last dimension of ${Math.max(width, 1)}`;
    throw invalid("ERR_SHAPE", "x", expected, `[${input.shape.join(", ")}]`);
  }
  return { input, scale, rows: input.size / width, width };
}
