/**
 * What calls are made with: an engine that refuses huge asks, another one, one that is closed, a folder of
 * their own, and a stream of choices that depends on the seed and the call's number alone.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { types } from "node:util";
import { Engine, Offsets, Tensor } from "../../dist/index.js";
import { random } from "../../dist/nn/random.js";

const memoryLimit = 64 << 20;

/** Engines, for as long as hostile calls leave them open. */
export class Engines {
  /** What faulty rows are reported to; a call may put something hostile here. */
  onFault = () => {};
  #device;

  constructor(device) {
    this.#device = device;
    this.closed = this.#open();
    this.gone = this.closed.zeros([2, 3]);
    this.closed.dispose();
    this.renew();
  }

  #open() {
    const onFault = (fault) => this.onFault(fault);
    return new Engine({ device: this.#device, threads: 2, memoryLimit, onFault });
  }

  /** Opens those again that a call has closed. */
  renew() {
    if (this.engine?.disposed !== false) this.engine = this.#open();
    if (this.other?.disposed !== false) this.other = this.#open();
    this.onFault = () => {};
  }

  dispose() {
    this.engine.dispose();
    this.other.dispose();
  }
}

/** What one call is made of; everything that it makes is freed by `end`. */
export class World {
  #held = [];
  #timers = [];
  /** Errors that the values of this call have thrown themselves. */
  own = new Set();

  constructor(engines, folder, seed, call) {
    this.engines = engines;
    this.engine = engines.engine;
    this.other = engines.other;
    this.closed = engines.closed;
    this.root = folder;
    this.call = call;
    this.uniform = random([seed, call]).uniform;
  }

  /** An integer in [0, n). */
  below(n) {
    return Math.floor(this.uniform() * n);
  }

  pick(from) {
    return from[this.below(from.length)];
  }

  chance(share) {
    return this.uniform() < share;
  }

  /** Freed when the call is over. */
  hold(made) {
    this.#held.push(made);
    return made;
  }

  /** Runs `free` when the call is over. */
  later(free) {
    this.#held.push({ dispose: free });
  }

  /** A tensor of small numbers. */
  tensor(shape, dtype = "f32", engine = this.engine) {
    const size = shape.reduce((a, b) => a * b, 1);
    return this.#keep(engine, engine.tensor(this.array(dtype, size), shape, dtype));
  }

  #keep(engine, tensor) {
    return this.hold(engine.keep(tensor));
  }

  array(dtype, size) {
    if (dtype === "bf16") return Uint16Array.from({ length: size }, () => 0x3f80 + this.below(64));
    if (dtype === "f16") return Uint16Array.from({ length: size }, () => 0x3c00 + this.below(64));
    if (dtype === "i32") return Int32Array.from({ length: size }, () => this.below(2));
    if (dtype === "u8") return Uint8Array.from({ length: size }, () => this.below(2));
    const array = dtype === "f64" ? Float64Array : Float32Array;
    return array.from({ length: size }, () => this.uniform() + 0.25);
  }

  /** A tensor or the array that would be copied into one. */
  data(shape, dtype = "f32") {
    if (this.chance(0.7) || shape.length > 1) return this.tensor(shape, dtype);
    return this.array(
      dtype,
      shape.reduce((a, b) => a * b, 1),
    );
  }

  /** A tensor of these integers. */
  ids(values, engine = this.engine) {
    return this.#keep(engine, engine.tensor(values, [values.length], "i32"));
  }

  offsets(values) {
    return this.chance(0.5) ? this.hold(new Offsets(this.engine, values)) : values;
  }

  /** A path in a folder of this call's own. */
  path(name) {
    const folder = join(this.root, `call${this.call}`);
    mkdirSync(folder, { recursive: true });
    return join(folder, name);
  }

  /** Runs `fn` after some milliseconds, unless the call is over. */
  soon(fn, milliseconds) {
    this.#timers.push(setTimeout(fn, milliseconds));
  }

  /** A signal that is raised after a while. */
  signal(milliseconds = 20) {
    const controller = new AbortController();
    this.soon(() => controller.abort(new Error("enough")), milliseconds);
    return controller.signal;
  }

  /** Throws an error that is this call's own. */
  fail(error) {
    // Until it is asked for its stack, an error holds the objects of the calls that it came from.
    void error?.stack;
    this.own.add(error);
    throw error;
  }

  async end(result) {
    for (const timer of this.#timers) clearTimeout(timer);
    await free(result);
    for (const made of this.#held.splice(0).reverse()) await made.dispose();
  }
}

/** Frees what a call returned: tensors, policies, servers, generators. A proxy of one cannot free it. */
async function free(result, depth = 0) {
  if (types.isProxy(result)) return;
  if (typeof result === "function" && depth === 0) return result.dispose?.();
  if (typeof result !== "object" || result === null || depth > 2) return;
  if (result instanceof Tensor)
    return !(result.engine instanceof Engine) ? undefined : result.dispose();
  if (result instanceof Engine) return Object.hasOwn(result, "info") ? result.dispose() : undefined;
  if (typeof result.abort === "function" && typeof result.close === "function") {
    result.abort();
    return result.close();
  }
  if (typeof result.dispose === "function") return result.dispose();
  if (ArrayBuffer.isView(result)) return;
  for (const part of Object.values(result).slice(0, 50)) await free(part, depth + 1);
}
