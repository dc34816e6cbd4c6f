import { types } from "node:util";
import type { Addon, EngineHandle, RawFault } from "./addon.js";
import { checkChoice, checkInteger, checkKeys, checkNumber, invalid } from "./checks.js";
import { type DType, dtypeOf, dtypes, isTypedArray, newArray, type TypedArray } from "./dtype.js";
import { FiresteelError } from "./error.js";
import { chooseAddon, wantedDevice } from "./loader.js";
import { checkShape, Tensor, toArray } from "./tensor.js";

/** Rows whose values a call could not use: NaN log-probs, zero gradients, nothing else touched. */
export interface FaultReport {
  /** The call, e.g. "log_prob". */
  call: string;
  kind: "id-out-of-range" | "not-a-number" | "no-support" | "parameter-out-of-range";
  /** How many rows, and the first of them. */
  count: number;
  firstRow: number;
}

const faultKinds = [
  "id-out-of-range",
  "not-a-number",
  "no-support",
  "parameter-out-of-range",
] as const;

/** As native/gemm/gemm.h numbers them. */
const matmuls = { auto: 0, own: 1, cublas: 2 } as const;
const choices = Object.keys(matmuls) as (keyof typeof matmuls)[];

/** Where an engine runs and what it may take. */
export interface EngineOptions {
  /** "auto" (default) takes CUDA where a device answers, else the CPU. FIRESTEEL_DEVICE overrides "auto". */
  device?: "auto" | "cpu" | "cuda" | "emulated";
  /** CPU threads; default: as many as the process may use. Results do not depend on it. */
  threads?: number;
  /** Bytes that tensors may take; default 0.8 of the device's or the cgroup's memory. */
  memoryLimit?: number;
  /**
   * What multiplies matrices on CUDA. "own": Firesteel's kernels; a row's bits do not depend on the batch
   * it is in. "cublas": cuBLASLt for products of two 16-bit operands, to the tolerance of the same
   * tensor cores but without that promise; 32 MiB of the engine's memory are its workspace. "auto"
   * (default): "cublas" where the library opens, else "own". The CPU has its own kernels alone.
   * FIRESTEEL_CUBLASLT=<path> says where the library is.
   */
  matmul?: keyof typeof matmuls;
  /** Told of faulty rows when a result of the call is read. Default: a process warning. */
  onFault?: (fault: FaultReport) => void;
}

/** What an engine runs on. */
export interface EngineInfo {
  device: "cpu" | "cuda" | "emulated";
  /** Instruction set, or the card's name. */
  name: string;
  threads: number;
  /** Hardware threads, or multiprocessors. */
  units: number;
  /** CUDA compute capability times ten, else 0. */
  compute: number;
  memoryBytes: number;
  /** What multiplies 16-bit matrices; f32 is always Firesteel's own. */
  matmul: "own" | "cublas";
  /** The library and its version, or why it is not used; empty where it was not looked for. */
  matmulDetail: string;
}

/** Whether a value is an engine that a constructor made; set by the class. */
export let isEngine: (value: unknown) => value is Engine;

/** A tensor, or data that is copied into one. */
export type TensorLike = Tensor | TypedArray | readonly number[];

/**
 * One device and one in-order stream of calls. A call checks what the host can see, allocates its
 * results, enqueues and returns; reading a result waits for it. Small calls on an idle CPU engine run
 * before they return. A loop that gives a call its last results as `out` allocates nothing.
 *
 * @example
 * const engine = new Engine({ device: "cpu" });
 * const scored = logProb(engine, engine.tensor(logits, [tokens, vocab]), targets);
 * console.log(await scored.logProb.read());
 */
export class Engine {
  /** What the engine runs on, settled when it was made. */
  readonly info: EngineInfo;
  /** @internal */
  readonly addon: Addon;
  readonly #onFault: (fault: FaultReport) => void;
  #handle: EngineHandle | null;
  #scopes: Set<Tensor>[] = [];
  #attempts: Tensor[][] = [];

  static {
    // Objects that merely have the prototype, and proxies, are none.
    isEngine = (value): value is Engine =>
      typeof value === "object" && value !== null && #handle in value;
  }

  /** @throws FiresteelError ERR_OPTION, ERR_RANGE, ERR_NO_DEVICE */
  constructor(options: EngineOptions = {}) {
    checkKeys("options", options, ["device", "threads", "memoryLimit", "matmul", "onFault"]);
    const { threads, memoryLimit, matmul = "auto", onFault = warn } = options;
    const device = wantedDevice(options.device);
    if (threads !== undefined) checkInteger("threads", threads, 1, 1024);
    if (memoryLimit !== undefined) {
      checkNumber("memoryLimit", memoryLimit, 1, Number.MAX_SAFE_INTEGER);
    }
    const multiply = matmuls[checkChoice("matmul", matmul, choices)];
    if (typeof onFault !== "function")
      throw invalid("ERR_OPTION", "onFault", "a function", onFault);
    this.#onFault = onFault;
    this.addon = chooseAddon(device);
    const bytes = Math.floor(memoryLimit ?? 0);
    const { handle, ...info } = this.addon.open(threads ?? 0, bytes, multiply);
    this.#handle = handle;
    this.info = Object.freeze({ device: this.addon.backend, ...info });
  }

  /** The kind of device: `info.device`. */
  get device(): EngineInfo["device"] {
    return this.info.device;
  }

  /** Whether `dispose` was called; every other call then throws ERR_DISPOSED. */
  get disposed(): boolean {
    return this.#handle === null;
  }

  /** @internal */
  get handle(): EngineHandle {
    if (this.#handle === null) {
      throw new FiresteelError("ERR_DISPOSED", "Expected an open engine but it was disposed");
    }
    return this.#handle;
  }

  /**
   * A tensor with a copy of `data`. The dtype defaults to the array's own; plain numbers become f32;
   * a `Uint16Array` needs "bf16" or "f16". The shape defaults to one dimension.
   */
  tensor(data: TypedArray | readonly number[], shape?: readonly number[], dtype?: DType): Tensor {
    const type = isTypedArray(data) ? dtypeOfArray(data, dtype) : checkDtype(dtype ?? "f32");
    const array = isTypedArray(data) ? data : toArray("data", data, type);
    const dimensions = dimensionsOf(array, shape);
    return this.attempt(() => {
      const tensor = this.empty(dimensions, type);
      tensor.write(array);
      return tensor;
    });
  }

  /**
   * A tensor that is shared memory, on the CPU. Nothing is copied: calls read what the array holds when they
   * run, and what they write is in the array once they have run (`await synchronize()`; `read()` also
   * reports faulty rows and failed calls). `memory()` does not count it. Several tensors may lie in one
   * buffer: an `out` that overlaps with an input is refused, but a call that fails marks only the tensor
   * that it was given.
   *
   * @param data a view of a SharedArrayBuffer, which stays as long as a tensor or a call that is queued
   *   needs it; its dtype and the shape as in `tensor()`
   * @throws FiresteelError ERR_OPTION (memory that is not shared, another device), ERR_DTYPE, ERR_SHAPE
   */
  wrap(data: TypedArray, shape?: readonly number[], dtype?: DType): Tensor {
    if (!isTypedArray(data) || !types.isSharedArrayBuffer(data.buffer)) {
      throw invalid("ERR_OPTION", "data", "a typed array in a SharedArrayBuffer", data);
    }
    if (this.device !== "cpu") throw invalid("ERR_OPTION", "wrap()", "a CPU engine", this.device);
    const type = dtypeOfArray(data, dtype);
    const dimensions = dimensionsOf(data, shape);
    const handle = this.addon.wrap(this.handle, data, dtypes[type].code);
    const place = { memory: data.buffer, begin: data.byteOffset };
    return this.adopt(new Tensor(this, handle, type, dimensions, place));
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.attempt(() => {
      const tensor = this.empty(shape, dtype);
      tensor.write(newArray(dtype, tensor.size));
      return tensor;
    });
  }

  /** A tensor whose contents are undefined until something is written. */
  empty(shape: readonly number[], dtype: DType = "f32"): Tensor {
    const size = checkShape("shape", shape);
    const { code } = dtypes[checkDtype(dtype)];
    const handle = this.addon.allocate(this.handle, code, size);
    return this.adopt(new Tensor(this, handle, dtype, shape));
  }

  /**
   * Runs `fn` and frees every tensor that it made and did not return (a tensor, or tensors inside
   * arrays and plain objects). Synchronous only: reads inside use `readSync()`.
   */
  scope<T>(fn: () => T): T {
    if (typeof fn !== "function") throw invalid("ERR_OPTION", "fn", "a function", fn);
    this.#scopes.push(new Set());
    let returned = new Set<unknown>();
    try {
      const result = fn();
      if (result instanceof Promise) {
        throw invalid("ERR_OPTION", "fn", "a synchronous function", "one that returns a promise");
      }
      returned = objectsIn(result);
      return result;
    } finally {
      for (const tensor of this.#scopes.pop()!) {
        if (returned.has(tensor)) this.#scopes.at(-1)?.add(tensor);
        else tensor.dispose();
      }
    }
  }

  /** Takes a tensor out of the scopes it was made in: it lives until disposed. */
  keep(tensor: Tensor): Tensor {
    if (!(tensor instanceof Tensor)) throw invalid("ERR_OPTION", "tensor", "a tensor", tensor);
    for (const scope of this.#scopes) scope.delete(tensor);
    return tensor;
  }

  /**
   * @internal Where `make` throws, every tensor that it made is freed, also those that it kept: nobody has
   * them. Synchronous only.
   */
  attempt<T>(make: () => T): T {
    const made: Tensor[] = [];
    this.#attempts.push(made);
    try {
      return make();
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      this.#attempts.pop();
    }
  }

  /** @internal Puts a new tensor into the current scope. */
  adopt(tensor: Tensor): Tensor {
    for (const made of this.#attempts) made.push(tensor);
    this.#scopes.at(-1)?.add(tensor);
    return tensor;
  }

  /** @internal */
  report(faults: readonly RawFault[]): void {
    for (const [call, kind, count, firstRow] of faults) {
      this.#onFault({ call, kind: faultKinds[kind]!, count, firstRow });
    }
  }

  /** Bytes in use, kept for reuse, the most ever in use, and the limit. */
  memory(): { live: number; pooled: number; peak: number; limit: number } {
    const [live, pooled, peak, limit] = this.addon.memory(this.handle);
    return { live, pooled, peak, limit };
  }

  /** Resolves when everything enqueued before has run. */
  async synchronize(): Promise<void> {
    await this.addon.synchronize(this.handle);
  }

  /** Drops what has not run yet and ends the engine; pending reads reject with ERR_DISPOSED. */
  dispose(): void {
    if (this.#handle === null) return;
    this.addon.close(this.#handle);
    this.#handle = null;
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** @throws FiresteelError ERR_DTYPE */
function dtypeOfArray(data: TypedArray, dtype: DType | undefined): DType {
  const own = dtypeOf(data) ?? dtype;
  const sixteen = own === "bf16" || own === "f16";
  if (own === undefined || (data instanceof Uint16Array && !sixteen)) {
    throw invalid("ERR_DTYPE", "dtype", '"bf16" or "f16" (the data is a Uint16Array)', dtype);
  }
  if (dtype !== undefined && dtype !== own) {
    throw invalid("ERR_DTYPE", "data", `a ${dtypes[checkDtype(dtype)].array.name}`, data);
  }
  return own;
}

/** @throws FiresteelError ERR_SHAPE */
function dimensionsOf(data: TypedArray, shape: readonly number[] | undefined): readonly number[] {
  const dimensions = shape ?? [data.length];
  const size = checkShape("shape", dimensions);
  if (size === data.length) return dimensions;
  throw invalid("ERR_SHAPE", "data", `${size} elements for shape [${dimensions}]`, data);
}

function checkDtype(dtype: unknown): DType {
  return checkChoice("dtype", dtype, Object.keys(dtypes) as DType[]);
}

function warn(fault: FaultReport): void {
  const rows = `${fault.count} row${fault.count === 1 ? "" : "s"} (first: ${fault.firstRow})`;
  process.emitWarning(`${fault.call}: ${fault.kind} in ${rows}`, { code: "FIRESTEEL_FAULT" });
}

/** `value` and what its arrays and plain objects hold, however deep; cycles are fine. */
function objectsIn(value: unknown): Set<unknown> {
  const found = new Set([value]); // a set that grows while it is walked is walked to its end
  for (const item of found) {
    if (typeof item !== "object" || item === null) continue;
    const prototype = Object.getPrototypeOf(item);
    if (!Array.isArray(item) && prototype !== Object.prototype && prototype !== null) continue;
    for (const part of Object.values(item)) if (typeof part === "object") found.add(part);
  }
  return found;
}
