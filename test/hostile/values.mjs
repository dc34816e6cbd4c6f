/** Values that nobody should be given, and callbacks that do what callbacks should not. */
import { Tensor } from "../../dist/index.js";

const numbers = [
  0,
  -0,
  1,
  2,
  3,
  -1,
  0.5,
  1e-320,
  1e9,
  2 ** 31,
  -(2 ** 31) - 1,
  2 ** 32,
  2 ** 48,
  2 ** 53,
  Number.MAX_VALUE,
  Number.NaN,
  Infinity,
  -Infinity,
];

const words = [
  "",
  "f32",
  "u8",
  "mean",
  "group",
  "token-mean",
  "clip",
  "none",
  "all",
  "cpu",
  "real",
  "dpo",
  "sde",
  "full",
  "arithmetic",
  "grpo",
  "toString",
  "constructor",
  "__proto__",
  "\0",
  "\ud800",
  "\\boxed{",
  "1/0",
  "9".repeat(400),
  "((((".repeat(300),
  "é".repeat(5000),
];

/** A value of any kind. Each is made when it is asked for: calls cannot spoil those of others. */
export function hostile(world, depth = 0) {
  const { pick, below, chance } = bound(world);
  const kind = below(20);
  if (kind < 4) return pick(numbers);
  if (kind < 6) return pick(words);
  if (kind < 9) return array(world);
  if (kind < 12) return tensor(world);
  if (kind === 12) return callback(world);
  if (kind === 13 && depth < 2)
    return Array.from({ length: below(4) }, () => hostile(world, depth + 1));
  if (kind === 14 && depth < 2) {
    const keys = ["x", "value", "length", "values", "out", "dtype", "path", "0", "then", "toJSON"];
    return Object.fromEntries(
      Array.from({ length: below(4) }, () => [pick(keys), hostile(world, depth + 1)]),
    );
  }
  if (kind === 15) return pick([world.engine, world.other, world.closed]);
  if (kind === 16) return touchy(world, chance(0.5) ? {} : [], "get");
  return pick([
    null,
    undefined,
    true,
    false,
    {},
    [],
    Symbol("s"),
    10n,
    -(2n ** 70n),
    new Date(Number.NaN),
    new Map(),
    /x/,
    new (class Odd {})(),
    Object.create(null),
    Object.create(Tensor.prototype),
    Promise.resolve(1),
    new AbortController().signal,
    AbortSignal.abort(),
    globalThis,
    Function.prototype,
  ]);
}

function bound(world) {
  return {
    pick: (from) => world.pick(from),
    below: (n) => world.below(n),
    chance: (share) => world.chance(share),
  };
}

/** Arrays and typed arrays in every state that memory can be in. */
export function array(world) {
  const make = world.pick([
    () => new Float32Array([1, 2, 3, 4, 5, 6]),
    () => new Float32Array(0),
    () => new Float32Array([Number.NaN, Infinity, -Infinity]),
    () => new Float64Array(2),
    () => new Int32Array([0, 2, 1, -7, 2 ** 31 - 1]),
    () => new Int32Array([0, 2]),
    () => new Uint8Array([1, 0, 255]),
    () => new Uint16Array(6),
    () => new BigInt64Array(3),
    () => new Uint8ClampedArray(2),
    () => new DataView(new ArrayBuffer(8)),
    () => new ArrayBuffer(24),
    () => new Float32Array(new SharedArrayBuffer(24)),
    () => detached(new Float32Array(6)),
    () => resizable(Float32Array, 6, 3),
    () => resizable(Int32Array, 3, 0),
    () => Buffer.from("hello"),
    () => [0, 1],
    () => [0, 2, 1],
    () => [Number.NaN, "x", {}],
    () => Object.assign(new Array(3), { 0: 1, 2: 3 }),
    () => new Array(2 ** 20),
    () => Object.assign([1, 2], { length: 5 }),
    () => Object.setPrototypeOf(new Float32Array(3), Array.prototype),
    () => ({ length: 3, 0: 1, 1: 2, 2: 3 }),
    () => ({ length: 2 ** 53 }),
    () => ({ length: -1 }),
  ]);
  return make();
}

/** A typed array whose memory went elsewhere. */
export function detached(typed) {
  structuredClone(typed.buffer, { transfer: [typed.buffer] });
  return typed;
}

/** One over a buffer that was made for `count` elements and shrunk to fewer. */
export function resizable(type, count, left) {
  const bytes = type.BYTES_PER_ELEMENT;
  const buffer = new ArrayBuffer(count * bytes, { maxByteLength: Math.max(64, count * bytes) });
  const typed = new type(buffer);
  buffer.resize(left * bytes);
  return typed;
}

/** Tensors of every dtype, and those that are none any more. */
export function tensor(world) {
  const make = world.pick([
    () => world.tensor([2, 3]),
    () => world.tensor([6]),
    () => world.tensor([2, 1, 4]),
    () => world.tensor([0, 3]),
    () => world.tensor([]),
    () => world.tensor([1], "f64"),
    () => world.tensor([2, 3], "bf16"),
    () => world.tensor([3], "f16"),
    () => world.tensor([3], "u8"),
    () => world.ids([9, -7, 2 ** 31 - 1]),
    () => world.tensor([2, 3], "f32", world.other),
    () => world.engines.gone,
    () => {
      const gone = world.tensor([2, 3]);
      gone.dispose();
      return gone;
    },
    () => new Proxy(world.tensor([2, 3]), {}),
    () => {
      const poisoned = world.engine.tensor([Number.NaN, Infinity, -Infinity], [3]);
      return world.hold(world.engine.keep(poisoned));
    },
  ]);
  return make();
}

/**
 * What a value does to the engine while a call reads it. Each is something that a program may do in a
 * getter or a callback, at the worst of times.
 */
export function meddle(world, victims = []) {
  const act = world.pick([
    "throw",
    "call",
    "dispose",
    "close",
    "shrink",
    "detach",
    "scope",
    "nothing",
  ]);
  const engine = world.engine;
  if (act === "throw") {
    return world.fail(world.pick([new Error("mine"), new TypeError("mine"), { mine: true }]));
  }
  if (act === "call" && !engine.disposed) {
    engine.scope(() => {
      const one = engine.zeros([4]);
      one.write([1, 2, 3, 4]);
      one.rows(1, 2).readSync();
    });
  }
  if (act === "scope" && !engine.disposed) engine.scope(() => void engine.zeros([2]));
  if (act === "close") engine.dispose();
  for (const victim of victims) {
    if (act === "dispose" && victim instanceof Tensor) victim.dispose();
    if (!ArrayBuffer.isView(victim) || !(victim.buffer instanceof ArrayBuffer)) continue;
    if (act === "shrink" && victim.buffer.resizable) victim.buffer.resize(0);
    if (act === "detach" && victim.buffer.byteLength > 0 && !Buffer.isBuffer(victim))
      detached(victim);
  }
  return undefined;
}

/** `target` behind a proxy whose trap throws or meddles. */
export function touchy(world, target, trap, victims = []) {
  let left = world.below(4);
  const act = () => {
    if (left-- === 0) meddle(world, victims);
  };
  const traps = {
    get: (object, key) => {
      act();
      return Reflect.get(object, key);
    },
    ownKeys: (object) => {
      act();
      return Reflect.ownKeys(object);
    },
    has: (object, key) => {
      act();
      return Reflect.has(object, key);
    },
    getPrototypeOf: (object) => {
      act();
      return Reflect.getPrototypeOf(object);
    },
  };
  return new Proxy(target, { [trap]: traps[trap] });
}

/** A callback that throws, rejects, answers nonsense or calls back into the engine. */
export function callback(world, victims = []) {
  const answer = hostileAnswer(world, victims);
  const how = world.below(4);
  if (how === 0) return answer;
  if (how === 1) return async () => answer();
  if (how === 2) return (...args) => args[0];
  return () => {
    meddle(world, victims);
    return answer();
  };
}

function hostileAnswer(world, victims) {
  const kind = world.below(6);
  if (kind === 0)
    return () => world.fail(world.pick([new Error("mine"), new RangeError("mine"), null]));
  if (kind === 1) return () => Number.NaN;
  if (kind === 2) return () => world.pick(numbers);
  if (kind === 3) return () => meddle(world, victims);
  const value = hostile(world, 1);
  return () => value;
}
