import type { TensorHandle } from "./addon.js";
import { aborted, checkInteger, checkKeys, invalid, throwIfAborted } from "./checks.js";
import { type DType, dtypes, isTypedArray, newArray, type TypedArray } from "./dtype.js";
import type { Engine } from "./engine.js";
import { FiresteelError } from "./error.js";

/** Where elements lie: those of views lie in the memory of the tensor that they are views of. */
interface Place {
  memory: object;
  /** Bytes before the first element. */
  begin: number;
}

/** What this module's functions may see of a tensor and nobody else; set by the class. */
let handleIn: (tensor: Tensor) => TensorHandle | null;
let placeOf: (tensor: Tensor) => Place;

/** The addon's handle. @throws FiresteelError ERR_DISPOSED */
export function handleOf(tensor: Tensor, name: string): TensorHandle {
  const handle = handleIn(tensor);
  if (handle === null) {
    throw new FiresteelError(
      "ERR_DISPOSED",
      `Expected a live tensor for ${name} but it was disposed`,
    );
  }
  return handle;
}

/** Whether two tensors have an element in common: "same" where all of them are, in the same order. */
export function overlap(a: Tensor, b: Tensor): "none" | "some" | "same" {
  const [p, q] = [placeOf(a), placeOf(b)];
  if (p.memory !== q.memory || a.size === 0 || b.size === 0) return "none";
  if (p.begin === q.begin && a.size === b.size && a.dtype === b.dtype) return "same";
  return p.begin < q.begin + bytesOf(b) && q.begin < p.begin + bytesOf(a) ? "some" : "none";
}

function bytesOf({ size, dtype }: Tensor): number {
  return size * dtypes[dtype].bytes;
}

/** How a tensor is read. */
export interface ReadOptions {
  /** Filled and returned instead of a new array; same element type and length. */
  into?: TypedArray;
  /** Rejects the wait with ERR_ABORTED; the work itself goes on. */
  signal?: AbortSignal;
}

/**
 * A dense array on an engine's device: f32, bf16, f16, f64, i32 or u8, rows contiguous. Made by an
 * engine, freed by `dispose()`, by the scope it was made in, or at last by the garbage collector.
 */
export class Tensor {
  /** The engine that made it. */
  readonly engine: Engine;
  /** Type of its elements. */
  readonly dtype: DType;
  /** Its dimensions, row-major. */
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;

  #handle: TensorHandle | null;
  readonly #place: Place;

  static {
    // Objects that merely have the prototype, and proxies, count as disposed.
    handleIn = (tensor) => (#handle in tensor ? tensor.#handle : null);
    placeOf = (tensor) => tensor.#place;
  }

  /** @internal Tensors are made by an engine; those in memory that others lie in too have its place. */
  constructor(
    engine: Engine,
    handle: TensorHandle,
    dtype: DType,
    shape: readonly number[],
    place?: Place,
  ) {
    this.engine = engine;
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    this.size = shape.reduce((a, b) => a * b, 1);
    this.#handle = handle;
    this.#place = place ?? { memory: {}, begin: 0 };
  }

  /** Whether the memory was given back; reading then throws ERR_DISPOSED. */
  get disposed(): boolean {
    return handleIn(this) === null;
  }

  /** Rows `begin` (inclusive) to `end` (exclusive) of the first dimension, as a view of this memory. */
  rows(begin: number, end: number): Tensor {
    handleOf(this, "rows()");
    const count = this.shape[0];
    if (count === undefined) throw invalid("ERR_SHAPE", "rows()", "a tensor with rows", this.shape);
    checkInteger("begin", begin, 0, count);
    checkInteger("end", end, begin, count);
    const width = count === 0 ? 0 : this.size / count;
    return this.#share(begin * width, [end - begin, ...this.shape.slice(1)]);
  }

  /** The same memory under another shape of the same size. */
  view(shape: readonly number[]): Tensor {
    handleOf(this, "view()");
    const size = checkShape("shape", shape);
    if (size !== this.size) {
      throw invalid("ERR_SHAPE", "shape", `a shape of ${this.size} elements`, `[${shape}]`);
    }
    return this.#share(0, shape);
  }

  #share(first: number, shape: readonly number[]): Tensor {
    const handle = handleOf(this, "view");
    const size = shape.reduce((a, b) => a * b, 1);
    const part = this.engine.addon.view(handle, first, size);
    const begin = this.#place.begin + first * dtypes[this.dtype].bytes;
    const place = { memory: this.#place.memory, begin };
    return this.engine.adopt(new Tensor(this.engine, part, this.dtype, shape, place));
  }

  /**
   * The values, once everything enqueued before has run. bf16 and f16 come as bits in a `Uint16Array`.
   * @throws FiresteelError the error of the call that should have made the values; ERR_ABORTED
   */
  async read(options: ReadOptions = {}): Promise<TypedArray> {
    checkKeys("options", options, ["into", "signal"]);
    const { signal } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw invalid("ERR_OPTION", "signal", "an AbortSignal", signal);
    }
    throwIfAborted(signal, "The read");
    handleOf(this, "read()");
    const array = this.#target(options.into);
    // Faults are reported also where nobody waits any more: no later read repeats them.
    const reading = this.engine.addon
      .read(handleOf(this, "read()"), array)
      .then((faults) => this.engine.report(faults));
    await (signal === undefined ? reading : abortable(reading, signal));
    return array;
  }

  /** As `read()`, blocking the thread. */
  readSync(options: Pick<ReadOptions, "into"> = {}): TypedArray {
    checkKeys("options", options, ["into"]);
    handleOf(this, "readSync()");
    const array = this.#target(options.into);
    this.engine.report(this.engine.addon.readSync(handleOf(this, "readSync()"), array));
    return array;
  }

  #target(into: TypedArray | undefined): TypedArray {
    if (into === undefined) return newArray(this.dtype, this.size);
    const fits = isTypedArray(into) && into instanceof dtypes[this.dtype].array;
    if (!fits || into.length !== this.size) {
      const expected = `a ${dtypes[this.dtype].array.name} of ${this.size}`;
      throw invalid("ERR_SHAPE", "into", expected, into);
    }
    return into;
  }

  /** Replaces the values, in order with the calls around it; `data` may be reused at once. */
  write(data: TypedArray | readonly number[]): void {
    const handle = handleOf(this, "write()");
    const array = isTypedArray(data) ? data : toArray("data", data, this.dtype);
    if (!(array instanceof dtypes[this.dtype].array)) {
      throw invalid("ERR_DTYPE", "data", `a ${dtypes[this.dtype].array.name}`, data);
    }
    if (array.length !== this.size) {
      throw invalid("ERR_SHAPE", "data", `${this.size} elements`, data);
    }
    this.engine.addon.write(handle, array);
  }

  /** Frees the memory as soon as enqueued calls no longer need it. Disposing twice is harmless. */
  dispose(): void {
    const handle = handleIn(this);
    if (handle === null) return;
    this.#handle = null;
    this.engine.addon.dispose(handle);
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The number of elements of a shape. @throws FiresteelError ERR_SHAPE */
export function checkShape(name: string, shape: unknown): number {
  if (!Array.isArray(shape)) throw invalid("ERR_SHAPE", name, "an array of dimensions", shape);
  let size = 1;
  for (const [i, dimension] of shape.entries()) {
    // Beside a 0 the product says nothing about the others, and kernels count in 64 bits.
    if (!Number.isInteger(dimension) || dimension < 0 || dimension > 2 ** 48) {
      throw invalid("ERR_SHAPE", `${name}[${i}]`, "an integer in [0, 2^48]", dimension);
    }
    size *= dimension;
  }
  // Not `size > 2 ** 48`: an infinite product times 0 is NaN.
  if (!(size <= 2 ** 48)) throw invalid("ERR_SHAPE", name, "at most 2^48 elements", `[${shape}]`);
  return size;
}

/** Numbers as a typed array of a dtype. @throws FiresteelError ERR_DTYPE, ERR_RANGE */
export function toArray(name: string, data: unknown, dtype: DType): TypedArray {
  if (!Array.isArray(data)) {
    throw invalid("ERR_DTYPE", name, "a typed array or an array of numbers", data);
  }
  if (dtype === "bf16" || dtype === "f16") {
    throw invalid("ERR_DTYPE", name, `${dtype} bits in a Uint16Array`, data);
  }
  const array = newArray(dtype, data.length);
  const limits = { i32: [-(2 ** 31), 2 ** 31 - 1], u8: [0, 255] }[dtype as string];
  for (let i = 0; i < data.length; ++i) {
    const value: unknown = data[i];
    if (typeof value !== "number") {
      throw invalid("ERR_DTYPE", `${name}[${i}]`, "a number", value);
    }
    if (limits !== undefined) checkInteger(`${name}[${i}]`, value, limits[0]!, limits[1]!);
    array[i] = value;
  }
  return array;
}

function abortable(reading: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted(signal, "The read"));
    signal.addEventListener("abort", abort, { once: true });
    reading.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
