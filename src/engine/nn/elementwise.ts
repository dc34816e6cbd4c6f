import { checkBoolean, checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/** Where the result goes; default: a new tensor. */
export interface OutOption {
  out?: Tensor;
}

/**
 * a + b, element by element.
 *
 * @param a f32, any shape
 * @param b f32, same shape
 * @param options `out` may be a or b
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function add(engine: Engine, a: TensorLike, b: TensorLike, options: OutOption = {}): Tensor {
  checkKeys("options", options, ["out"]);
  return withInputs(engine, (inputs) => {
    const left = inputs.tensor("a", a, "f32", null);
    const right = inputs.tensor("b", b, "f32", left.shape);
    const y = inputs.result("out", options.out, "f32", left.shape, [left, right]);
    engine.addon.add(engine.handle, left.size, handle(left), handle(right), handle(y));
    return y;
  });
}

/**
 * x + bias in every row.
 *
 * @param x f32 [T, N]
 * @param bias f32 [N]
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
    const offset = inputs.tensor("bias", bias, "f32", [null]);
    const input = inputs.tensor("x", x, "f32", [null, offset.size]);
    const [rows, width] = input.shape as [number, number];
    const y = inputs.result("out", options.out, "f32", input.shape, [input]);
    engine.addon.addBias(engine.handle, rows, width, handle(input), handle(offset), handle(y));
    return y;
  });
}

/**
 * The sum of the rows, in their order: the gradient of a bias.
 *
 * @param x f32 [T, N]
 * @returns f32 [N]
 * @throws FiresteelError as `add`
 */
export function sumRows(engine: Engine, x: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, "f32", [null, null]);
    const [rows, width] = input.shape as [number, number];
    const y = inputs.empty([width]);
    engine.addon.sumRows(engine.handle, rows, width, handle(input), handle(y));
    return y;
  });
}

/**
 * factor * x, or out + factor * x where `accumulate`.
 *
 * @param factor finite
 * @param x f32, any shape
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
    const input = inputs.tensor("x", x, "f32", null);
    const y = inputs.result("out", options.out, "f32", input.shape, [input]);
    engine.addon.scale(engine.handle, input.size, factor, accumulate, handle(input), handle(y));
    return y;
  });
}

/**
 * Sets every element.
 *
 * @param x f32, any shape
 * @throws FiresteelError ERR_DTYPE, ERR_OPTION, ERR_DISPOSED
 */
export function fill(engine: Engine, x: Tensor, value: number): void {
  if (typeof value !== "number") throw invalid("ERR_RANGE", "value", "a number", value);
  withInputs(engine, (inputs) => {
    const y = inputs.tensor("x", x, "f32", null);
    engine.addon.fill(engine.handle, y.size, value, handle(y));
  });
}

const floats = ["f32", "bf16", "f16"] as const;

/**
 * The same values in another float type: rounded to nearest even, NaN stays NaN.
 *
 * @param x f32, bf16 or f16, any shape
 * @throws FiresteelError as `add`
 */
export function cast(engine: Engine, x: TensorLike, dtype: (typeof floats)[number]): Tensor {
  checkChoice("dtype", dtype, floats);
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, floats, null);
    const y = inputs.empty(input.shape, dtype);
    const [from, to] = [dtypes[input.dtype].code, dtypes[dtype].code];
    engine.addon.cast(engine.handle, input.size, from, to, handle(input), handle(y));
    return y;
  });
}
