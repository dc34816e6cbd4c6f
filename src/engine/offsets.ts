import type { TensorHandle } from "./addon.js";
import { checkEngine } from "./arguments.js";
import { checkInteger, invalid } from "./checks.js";
import { isTypedArray } from "./dtype.js";
import type { Engine } from "./engine.js";
import { handleOf, type Tensor } from "./tensor.js";

/** Host data that says where rows or groups begin. Kernels trust it, so it is checked once, here. */
export type OffsetsLike = Offsets | Int32Array | readonly number[];

/** What this module's functions may see of them and nobody else; set by the classes. */
let tensorOfOffsets: (offsets: Offsets) => Tensor | null;
let tensorOfSlots: (slots: Slots) => Tensor | null;
let valuesIn: (offsets: Offsets) => Int32Array;

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
  // Frozen objects keep their private fields: what has been checked stays so.
  readonly #values: Int32Array;
  readonly #tensor: Tensor;

  static {
    tensorOfOffsets = (offsets) => (#tensor in offsets ? offsets.#tensor : null);
    valuesIn = (offsets) => offsets.#values;
  }

  /** @throws FiresteelError ERR_SHAPE, ERR_RANGE */
  constructor(engine: Engine, values: Int32Array | readonly number[], name = "offsets") {
    checkEngine(engine);
    const copy = toInt32(name, values);
    if (copy.length === 0) throw invalid("ERR_SHAPE", name, "at least one offset", values);
    checkInteger(`${name}[0]`, copy[0], 0, 0);
    for (let i = 1; i < copy.length; ++i) {
      if (copy[i]! >= copy[i - 1]!) continue;
      checkInteger(`${name}[${i}]`, copy[i], copy[i - 1]!, 2 ** 31 - 1);
    }
    this.engine = engine;
    this.rows = copy.length - 1;
    this.total = copy[this.rows]!;
    this.#values = copy;
    this.#tensor = engine.keep(engine.tensor(copy));
    Object.freeze(this);
  }

  /** Frees the device's copy; disposing twice is fine. */
  dispose(): void {
    tensorOfOffsets(this)?.dispose();
  }
}

/** Checked indices into something that has `bound` places: key/value slots, permutations. */
export class Slots {
  readonly engine: Engine;
  readonly count: number;
  readonly bound: number;
  readonly #tensor: Tensor;

  static {
    tensorOfSlots = (slots) => (#tensor in slots ? slots.#tensor : null);
  }

  /** @throws FiresteelError ERR_RANGE */
  constructor(
    engine: Engine,
    values: Int32Array | readonly number[],
    bound: number,
    name = "slots",
  ) {
    checkEngine(engine);
    checkInteger("bound", bound, 0, Number.MAX_SAFE_INTEGER);
    const copy = toInt32(name, values);
    for (let i = 0; i < copy.length; ++i) {
      if (copy[i]! < 0 || copy[i]! >= bound) {
        throw invalid("ERR_RANGE", `${name}[${i}]`, `an index in [0, ${bound})`, copy[i]);
      }
    }
    this.engine = engine;
    this.count = copy.length;
    this.bound = bound;
    this.#tensor = engine.keep(engine.tensor(copy));
    Object.freeze(this);
  }

  /** Frees the device's copy; disposing twice is fine. */
  dispose(): void {
    tensorOfSlots(this)?.dispose();
  }
}

/** @throws FiresteelError ERR_DISPOSED */
export function offsetsHandle(offsets: Offsets | Slots, name: string): TensorHandle {
  const tensor = offsets instanceof Slots ? tensorOfSlots(offsets) : tensorOfOffsets(offsets);
  if (tensor !== null) return handleOf(tensor, name);
  throw invalid("ERR_OPTION", name, "offsets that a constructor made", offsets);
}

/** The offsets themselves; not to be written to. */
export function offsetValues(offsets: Offsets): Int32Array {
  return valuesIn(offsets);
}

function toInt32(name: unknown, values: unknown): Int32Array {
  if (typeof name !== "string") throw invalid("ERR_OPTION", "name", "a text", name);
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
