import type { TensorHandle } from "./addon.js";
import { checkEngine } from "./arguments.js";
import { checkKeys, invalid } from "./checks.js";
import { type DType, isTypedArray } from "./dtype.js";
import type { Engine, TensorLike } from "./engine.js";
import { Offsets, type OffsetsLike, offsetsHandle, type Slots } from "./offsets.js";
import { handleOf, overlap, Tensor } from "./tensor.js";

/** What a result is: its dtype and shape, or null where the call does not make it. */
export type ResultSpec = readonly [dtype: DType, shape: readonly number[]] | null;

/**
 * Tensors that results are written to instead of new ones: all of them or some, so that what an
 * earlier call returned can be given. Each of the dtype and shape that the result would have, and not
 * memory that the call uses otherwise.
 */
export type Out<Result> = { readonly [K in keyof Result]?: Result[K] | null };

/**
 * The tensor arguments of one kernel call: checks dtype, shape and engine, copies plain data, and
 * makes the results.
 */
export class Inputs {
  readonly #engine: Engine;
  /** What the call uses, for results that are given. */
  readonly #names: string[] = [];
  readonly #tensors: Tensor[] = [];
  /** What to free at the end: copies always, results where the call throws. */
  readonly #copies: { dispose(): void }[] = [];
  readonly #made: Tensor[] = [];

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
    const tensor =
      value instanceof Tensor
        ? value
        : this.temporary(this.#copy(name, value, dtype, shape ?? [null]));
    this.#check(name, tensor, dtype, shape);
    this.#names.push(name);
    this.#tensors.push(tensor);
    return tensor;
  }

  #check(
    name: string,
    tensor: Tensor,
    allowed: DType | readonly DType[],
    shape: readonly (number | null)[] | null,
  ): void {
    if (tensor.engine !== this.#engine) {
      throw invalid("ERR_OPTION", name, "a tensor of this engine", "a tensor of another engine");
    }
    handleOf(tensor, name);
    if (
      tensor.dtype !== allowed &&
      (typeof allowed === "string" || !allowed.includes(tensor.dtype))
    ) {
      const expected = typeof allowed === "string" ? allowed : allowed.join(" or ");
      throw invalid("ERR_DTYPE", name, `dtype ${expected}`, tensor.dtype);
    }
    if (shape !== null) checkDimensions(name, tensor.shape, shape);
  }

  #copy(
    name: string,
    value: unknown,
    allowed: DType | readonly DType[],
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
    const first = typeof allowed === "string" ? allowed : allowed[0];
    const dtype = value instanceof Uint16Array || Array.isArray(value) ? first : undefined;
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

  /**
   * Given offsets, or new ones for the time of the call.
   *
   * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION (another engine's), ERR_DISPOSED
   */
  offsets(name: string, value: OffsetsLike): Offsets {
    if (!(value instanceof Offsets)) {
      return this.temporary(new Offsets(this.#engine, value, name));
    }
    offsetsHandle(value, name);
    if (value.engine === this.#engine) return value;
    throw invalid("ERR_OPTION", name, "offsets of this engine", "those of another engine");
  }

  /** As `offsets`, or null where nothing was given. */
  optionalOffsets(name: string, value: OffsetsLike | null | undefined): Offsets | null {
    return value === null || value === undefined ? null : this.offsets(name, value);
  }

  /** What lives for the time of the call. */
  temporary<T extends Tensor | Offsets | Slots>(made: T): T {
    if (made instanceof Tensor) this.#engine.keep(made);
    this.#copies.push(made);
    return made;
  }

  /** A new tensor, freed where the call throws. */
  empty(shape: readonly number[], dtype: DType = "f32"): Tensor {
    const tensor = this.#engine.empty(shape, dtype);
    this.#made.push(tensor);
    return tensor;
  }

  /**
   * One result: `given`, or a new tensor. To be asked for after all inputs.
   *
   * @param over inputs whose memory it may be, element for element
   * @throws FiresteelError as `tensor`; ERR_OPTION where `given` is memory that the call uses otherwise
   */
  result(
    name: string,
    given: Tensor | null | undefined,
    dtype: DType,
    shape: readonly (number | null)[],
    over: readonly Tensor[] = [],
  ): Tensor {
    if (given === null || given === undefined) return this.empty(shape as readonly number[], dtype);
    if (!(given instanceof Tensor)) throw invalid("ERR_DTYPE", name, "a tensor", given);
    this.#check(name, given, dtype, shape);
    for (let i = 0; i < this.#tensors.length; ++i) {
      const used = this.#tensors[i]!;
      const common = overlap(given, used);
      if (common === "none" || (common === "same" && over.includes(used))) continue;
      const expected = "memory that the call does not use otherwise";
      throw invalid("ERR_OPTION", name, expected, `that of ${this.#names[i]}`);
    }
    this.#names.push(name);
    this.#tensors.push(given);
    return given;
  }

  /**
   * The results of a call by name, those of `out` where it has them. To be asked for after all inputs.
   *
   * @throws FiresteelError as `result`; ERR_OPTION where `out` has what the call does not make
   */
  results<const Specs extends Readonly<Record<string, ResultSpec>>>(
    out: { readonly [K in keyof Specs]?: Tensor | null } | undefined,
    specs: Specs,
  ): { -readonly [K in keyof Specs]: null extends Specs[K] ? Tensor | null : Tensor } {
    const made: Record<string, Tensor | null> = {};
    if (out !== undefined) checkKeys("out", out, Object.keys(specs));
    for (const name in specs) {
      const spec = specs[name]!;
      const given = out?.[name];
      if (spec !== null) {
        made[name] = this.result(`out.${name}`, given, spec[0], spec[1]);
      } else if (given === null || given === undefined) {
        made[name] = null;
      } else {
        throw invalid("ERR_OPTION", `out.${name}`, "nothing (the call does not make it)", given);
      }
    }
    return made as ReturnType<typeof this.results<Specs>>;
  }

  /** @internal */
  end(thrown: boolean): void {
    for (const tensor of this.#copies) tensor.dispose();
    if (thrown) for (const tensor of this.#made) tensor.dispose();
  }
}

/**
 * Runs one call with its inputs. Copies are freed when it has been enqueued (the stream keeps what it
 * still needs); where it throws, its results are too.
 */
export function withInputs<T>(engine: Engine, call: (inputs: Inputs) => T): T {
  checkEngine(engine);
  const inputs = new Inputs(engine);
  let thrown = true;
  try {
    const result = call(inputs);
    thrown = false;
    return result;
  } finally {
    inputs.end(thrown);
  }
}

/** The handle of what has been checked, or null. */
export function handle(checked: Tensor | Offsets | Slots): TensorHandle;
export function handle(checked: Tensor | Offsets | Slots | null): TensorHandle | null;
export function handle(checked: Tensor | Offsets | Slots | null): TensorHandle | null {
  if (checked === null) return null;
  return checked instanceof Tensor ? handleOf(checked, "a call") : offsetsHandle(checked, "a call");
}

export function checkDimensions(
  name: string,
  shape: readonly number[],
  expected: readonly (number | null)[],
): void {
  let fits = shape.length === expected.length;
  for (let i = 0; fits && i < expected.length; ++i) {
    fits = expected[i] === null || expected[i] === shape[i];
  }
  if (!fits)
    throw invalid("ERR_SHAPE", name, `shape ${dimensions(expected)}`, `[${shape.join(", ")}]`);
}

function dimensions(shape: readonly (number | null)[]): string {
  return `[${shape.map((dimension) => dimension ?? "any").join(", ")}]`;
}
