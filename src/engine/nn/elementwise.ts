import { checkBoolean, checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes, type Float, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/** Where the result goes; default: a new tensor. */
export interface OutOption {
  out?: Tensor;
}

/**
 * a + b, element by element. As everywhere here: computed in float32, rounded once.
 *
 * @param a f32, bf16 or f16, any shape
 * @param b as a
 * @param options `out` may be a or b
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function add(engine: Engine, a: TensorLike, b: TensorLike, options: OutOption = {}): Tensor {
  checkKeys("options", options, ["out"]);
  return withInputs(engine, (inputs) => {
    const left = inputs.tensor("a", a, floats, null);
    const right = inputs.tensor("b", b, left.dtype, left.shape);
    const y = inputs.result("out", options.out, left.dtype, left.shape, [left, right]);
    const { code } = dtypes[left.dtype];
    engine.addon.add(engine.handle, code, left.size, handle(left), handle(right), handle(y));
    return y;
  });
}

/**
 * x + bias in every row.
 *
 * @param x f32, bf16 or f16 [T, N]
 * @param bias as x, [N]
 * @param options `out` may be x
 * @throws FiresteelError as `add`
 */
export function addBias(
  engine: Engine,
  x: TensorLike,
  bias: TensorLike,
  options: OutOption = {},
): Tensor {
  checkKeys("options", options, ["out"]);
  return withInputs(engine, (inputs) => {
    const offset = inputs.tensor("bias", bias, floats, [null]);
    const input = inputs.tensor("x", x, offset.dtype, [null, offset.size]);
    const [rows, width] = input.shape as [number, number];
    const y = inputs.result("out", options.out, input.dtype, input.shape, [input]);
    const { code } = dtypes[input.dtype];
    const at = [handle(input), handle(offset), handle(y)] as const;
    engine.addon.addBias(engine.handle, code, rows, width, ...at);
    return y;
  });
}

/**
 * The sum of the rows, in their order: the gradient of a bias.
 *
 * @param x f32, bf16 or f16 [T, N]
 * @returns f32 [N]
 * @throws FiresteelError as `add`
 */
export function sumRows(engine: Engine, x: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, floats, [null, null]);
    const [rows, width] = input.shape as [number, number];
    const y = inputs.empty([width]);
    const { code } = dtypes[input.dtype];
    engine.addon.sumRows(engine.handle, code, rows, width, handle(input), handle(y));
    return y;
  });
}

/**
 * factor * x, or out + factor * x where `accumulate`.
 *
 * @param factor finite
 * @param x f32, bf16 or f16, any shape; `out` has its dtype
 * @param options `out` (may be x), and `accumulate` (default false), which needs it
 * @throws FiresteelError as `add`, ERR_RANGE
 */
export function scale(
  engine: Engine,
  factor: number,
  x: TensorLike,
  options: OutOption & { accumulate?: boolean } = {},
): Tensor {
  checkKeys("options", options, ["out", "accumulate"]);
  checkNumber("factor", factor, -3e38, 3e38);
  const accumulate = checkBoolean("accumulate", options.accumulate ?? false);
  if (accumulate && options.out === undefined) {
    throw invalid("ERR_OPTION", "out", "a tensor to accumulate into", options.out);
  }
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, floats, null);
    const y = inputs.result("out", options.out, input.dtype, input.shape, [input]);
    const { code } = dtypes[input.dtype];
    const at = [handle(input), handle(y)] as const;
    engine.addon.scale(engine.handle, code, input.size, factor, accumulate, ...at);
    return y;
  });
}

/**
 * Sets every element.
 *
 * @param x f32, bf16 or f16, any shape
 * @throws FiresteelError ERR_DTYPE, ERR_OPTION, ERR_DISPOSED
 */
export function fill(engine: Engine, x: Tensor, value: number): void {
  if (typeof value !== "number") throw invalid("ERR_RANGE", "value", "a number", value);
  withInputs(engine, (inputs) => {
    const y = inputs.tensor("x", x, floats, null);
    engine.addon.fill(engine.handle, dtypes[y.dtype].code, y.size, value, handle(y));
  });
}

/**
 * The same values in another float type: rounded to nearest even, NaN stays NaN.
 *
 * @param x f32, bf16 or f16, any shape
 * @param options `out`: of that dtype
 * @throws FiresteelError as `add`
 */
export function cast(engine: Engine, x: TensorLike, dtype: Float, options: OutOption = {}): Tensor {
  checkKeys("options", options, ["out"]);
  checkChoice("dtype", dtype, floats);
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, floats, null);
    const y = inputs.result("out", options.out, dtype, input.shape);
    const [from, to] = [dtypes[input.dtype].code, dtypes[dtype].code];
    engine.addon.cast(engine.handle, input.size, from, to, handle(input), handle(y));
    return y;
  });
}
