import type { TensorHandle } from "./addon.js";
import { invalid } from "./checks.js";
import { type DType, isTypedArray } from "./dtype.js";
import type { Engine, TensorLike } from "./engine.js";
import { handleOf, Tensor } from "./tensor.js";

/**
 * The tensor arguments of one kernel call: checks dtype, shape and engine, and copies plain data.
 */
export class Inputs {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * @param shape the expected dimensions, `null` for any one; `null` for any shape at all
   * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION (another engine's), ERR_DISPOSED
   */
  tensor(
    name: string,
    value: TensorLike,
    dtype: DType | readonly DType[],
    shape: readonly (number | null)[] | null,
  ): Tensor {
    const allowed = typeof dtype === "string" ? [dtype] : dtype;
    const tensor =
      value instanceof Tensor ? value : this.#copy(name, value, allowed, shape ?? [null]);
    if (tensor.engine !== this.#engine) {
      throw invalid("ERR_OPTION", name, "a tensor of this engine", "a tensor of another engine");
    }
    handleOf(tensor, name);
    if (!allowed.includes(tensor.dtype)) {
      throw invalid("ERR_DTYPE", name, `dtype ${allowed.join(" or ")}`, tensor.dtype);
    }
    if (shape !== null) checkDimensions(name, tensor.shape, shape);
    return tensor;
  }

  #copy(
    name: string,
    value: unknown,
    allowed: readonly DType[],
    shape: readonly (number | null)[],
  ): Tensor {
    if (!isTypedArray(value) && !Array.isArray(value)) {
      throw invalid("ERR_DTYPE", name, "a tensor, a typed array or an array of numbers", value);
    }
    // Plain data of one free dimension takes the shape that the call expects.
    const free = shape.filter((dimension) => dimension === null).length;
    const fixed = shape.reduce<number>((product, dimension) => product * (dimension ?? 1), 1);
    const inferred = fixed === 0 ? 0 : value.length / fixed;
    if (free > 1 || !Number.isInteger(inferred) || (free === 0 && value.length !== fixed)) {
      throw invalid("ERR_SHAPE", name, `data of shape ${dimensions(shape)}`, value);
    }
    const resolved = shape.map((dimension) => dimension ?? inferred);
    const dtype = value instanceof Uint16Array || Array.isArray(value) ? allowed[0] : undefined;
    return this.#engine.tensor(value, resolved, dtype);
  }

  /** As `tensor`, or null where nothing was given. */
  optional(
    name: string,
    value: TensorLike | null | undefined,
    dtype: DType | readonly DType[],
    shape: readonly (number | null)[] | null,
  ): Tensor | null {
    return value === null || value === undefined ? null : this.tensor(name, value, dtype, shape);
  }
}

/**
 * Runs one call with its inputs. Copies are freed when it has been enqueued (the stream keeps what it
 * still needs); where it throws, its outputs are too.
 */
export function withInputs<T>(engine: Engine, call: (inputs: Inputs) => T): T {
  return engine.scope(() => call(new Inputs(engine)));
}

/** The handle of a checked tensor, or null. */
export function handle(tensor: Tensor): TensorHandle;
export function handle(tensor: Tensor | null): TensorHandle | null;
export function handle(tensor: Tensor | null): TensorHandle | null {
  return tensor === null ? null : handleOf(tensor, "a call");
}

export function checkDimensions(
  name: string,
  shape: readonly number[],
  expected: readonly (number | null)[],
): void {
  const fits =
    shape.length === expected.length &&
    expected.every((dimension, i) => dimension === null || dimension === shape[i]);
  if (!fits)
    throw invalid("ERR_SHAPE", name, `shape ${dimensions(expected)}`, `[${shape.join(", ")}]`);
}

function dimensions(shape: readonly (number | null)[]): string {
  return `[${shape.map((dimension) => dimension ?? "any").join(", ")}]`;
}
