import type { TensorHandle } from "./addon.js";
import { checkInteger, invalid } from "./checks.js";
import { isTypedArray } from "./dtype.js";
import type { Engine } from "./engine.js";
import { handleOf, type Tensor } from "./tensor.js";

/** Host data that says where rows or groups begin. Kernels trust it, so it is checked once, here. */
export type OffsetsLike = Offsets | Int32Array | readonly number[];

const tensors = new WeakMap<Offsets | Slots, Tensor>();
const copies = new WeakMap<Offsets, Int32Array>();

/**
 * Bounds of ragged rows: row r holds elements `values[r]` to `values[r + 1]`. Starts at 0, ascending.
 * Worth making once where several calls use the same rows.
 */
export class Offsets {
  readonly engine: Engine;
  /** Number of rows. */
  readonly rows: number;
  /** Number of elements in all rows. */
  readonly total: number;

  /** @throws FiresteelError ERR_SHAPE, ERR_RANGE */
  constructor(engine: Engine, values: Int32Array | readonly number[], name = "offsets") {
    const copy = toInt32(name, values);
    if (copy.length === 0) throw invalid("ERR_SHAPE", name, "at least one offset", values);
    checkInteger(`${name}[0]`, copy[0], 0, 0);
    for (let i = 1; i < copy.length; ++i)
      checkInteger(`${name}[${i}]`, copy[i], copy[i - 1]!, 2 ** 31 - 1);
    this.engine = engine;
    this.rows = copy.length - 1;
    this.total = copy[this.rows]!;
    copies.set(this, copy);
    tensors.set(this, engine.keep(engine.tensor(copy)));
    Object.freeze(this); // what has been checked stays so
  }

  dispose(): void {
    tensors.get(this)?.dispose();
  }
}

/** Checked indices into something that has `bound` places: key/value slots, permutations. */
export class Slots {
  readonly engine: Engine;
  readonly count: number;
  readonly bound: number;

  /** @throws FiresteelError ERR_RANGE */
  constructor(
    engine: Engine,
    values: Int32Array | readonly number[],
    bound: number,
    name = "slots",
  ) {
    const copy = toInt32(name, values);
    for (let i = 0; i < copy.length; ++i) {
      if (copy[i]! < 0 || copy[i]! >= bound) {
        throw invalid("ERR_RANGE", `${name}[${i}]`, `an index in [0, ${bound})`, copy[i]);
      }
    }
    this.engine = engine;
    this.count = copy.length;
    this.bound = bound;
    tensors.set(this, engine.keep(engine.tensor(copy)));
    Object.freeze(this);
  }

  dispose(): void {
    tensors.get(this)?.dispose();
  }
}

/** Uses given offsets, or makes them for the time of one call. */
export function withOffsets<T>(
  engine: Engine,
  name: string,
  value: OffsetsLike,
  use: (offsets: Offsets, handle: TensorHandle) => T,
): T {
  if (value instanceof Offsets) {
    if (value.engine !== engine) {
      throw invalid("ERR_OPTION", name, "offsets of this engine", "those of another engine");
    }
    return use(value, offsetsHandle(value, name));
  }
  const made = new Offsets(engine, value, name);
  try {
    return use(made, offsetsHandle(made, name));
  } finally {
    made.dispose();
  }
}

/** As `withOffsets`, with nulls where none are given. */
export function withOptionalOffsets<T>(
  engine: Engine,
  name: string,
  value: OffsetsLike | null | undefined,
  use: (offsets: Offsets | null, handle: TensorHandle | null) => T,
): T {
  return value === null || value === undefined
    ? use(null, null)
    : withOffsets(engine, name, value, use);
}

/** @throws FiresteelError ERR_DISPOSED */
export function offsetsHandle(offsets: Offsets | Slots, name: string): TensorHandle {
  return handleOf(tensors.get(offsets)!, name);
}

/** The offsets themselves; not to be written to. */
export function offsetValues(offsets: Offsets): Int32Array {
  return copies.get(offsets)!;
}

function toInt32(name: string, values: unknown): Int32Array {
  if (isTypedArray(values) && values instanceof Int32Array) {
    return new Int32Array(values.length === 0 ? [] : values); // a detached one cannot be copied
  }
  if (!Array.isArray(values)) {
    throw invalid("ERR_DTYPE", name, "an Int32Array or an array of integers on the host", values);
  }
  return Int32Array.from(values, (value, i) =>
    checkInteger(`${name}[${i}]`, value, -(2 ** 31), 2 ** 31 - 1),
  );
}
