/** Makes valid arguments wrong in one or two places, anywhere within them. */
import { Engine, Offsets, Tensor } from "../../dist/index.js";
import { array, callback, detached, hostile, resizable, tensor, touchy } from "./values.mjs";

/**
 * The arguments with `count` places changed. A place is an argument, an element or a field, however deep.
 * `victims`: what a meddling getter or callback may dispose of or detach.
 */
export function mutate(world, args, count) {
  const root = copied(args);
  for (let i = 0; i < count; ++i) change(world, root);
  return root;
}

/** Arrays and plain objects anew, at every depth: what is shared by calls stays as it is. */
function copied(value, depth = 0) {
  if (depth > 6) return value;
  if (Array.isArray(value)) return value.map((part) => copied(part, depth + 1));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [key, copied(part, depth + 1)]),
  );
}

function change(world, root) {
  const places = [];
  collect(world, root, places, 0);
  if (world.chance(0.05) || places.length === 0) return void root.push(hostile(world));
  if (world.chance(0.05)) return void root.splice(world.below(root.length));
  const { holder, key } = world.pick(places);
  const value = holder[key];
  const how = world.below(10);
  const victims = [value, ...root];
  if (how === 0 && holder !== root) return void delete holder[key];
  if (how === 1 && holder !== root) return accessor(world, holder, key, victims);
  if (how === 2) return put(holder, key, touchy(world, ...proxied(world, value), victims));
  if (how === 3 && isPlainObject(value) && Object.isExtensible(value))
    return put(value, world.pick(["colour", "outt", "0", "__proto"]), 1);
  if (how < 5) return put(holder, key, hostile(world));
  put(holder, key, near(world, value, victims));
}

function put(holder, key, value) {
  Object.defineProperty(holder, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function proxied(world, value) {
  const object = typeof value === "object" && value !== null ? value : {};
  return [object, world.pick(["get", "ownKeys", "has", "getPrototypeOf"])];
}

/** The same value behind a getter that meddles when it is read. */
function accessor(world, holder, key, victims) {
  const value = holder[key];
  const meddling = touchy(world, { value }, "get", victims);
  if (Array.isArray(holder) && key === "length") return;
  Object.defineProperty(holder, key, {
    get: () => meddling.value,
    enumerable: true,
    configurable: true,
  });
}

/** Every place within plain objects and arrays: what a call reads is there. */
function collect(world, holder, places, depth) {
  const keys = Object.keys(holder).slice(0, 40);
  for (const key of keys) {
    const writable = Object.getOwnPropertyDescriptor(holder, key)?.writable !== false;
    if (!writable || !Object.isExtensible(holder)) continue;
    const value = Object.getOwnPropertyDescriptor(holder, key)?.value;
    // What was asked to take for ever can be ended by its signal alone.
    if (value instanceof AbortSignal && world.chance(0.9)) continue;
    places.push({ holder, key });
    const inside = (Array.isArray(value) && value.length < 64) || isPlainObject(value);
    if (inside && depth < 4) collect(world, value, places, depth + 1);
  }
}

function isPlainObject(value) {
  if (typeof value !== "object" || value === null) return false;
  return Object.getPrototypeOf(value) === Object.prototype;
}

/** A value of the same kind that is wrong, or only just right. */
function near(world, value, victims) {
  if (typeof value === "number") {
    return world.pick([
      value + 1,
      value - 1,
      -value,
      value + 0.5,
      value * 2 ** 40,
      0,
      Number.NaN,
      Infinity,
      String(value),
      BigInt(Number.isInteger(value) ? value : 1),
      Object(value),
      { valueOf: callback(world, victims) },
    ]);
  }
  if (typeof value === "string") {
    // Paths stay under the folder that they are under.
    const other = value.includes("/") ? `${value}/x` : value.toUpperCase();
    return world.pick([`${value}x`, value.slice(1), "", other, `${value}\0`, [value]]);
  }
  if (typeof value === "boolean") return world.pick([!value, Number(value), String(value)]);
  if (typeof value === "function") return callback(world, victims);
  if (value instanceof Tensor) return nearTensor(world, value);
  if (value instanceof Engine)
    return world.pick([world.other, world.closed, Object.create(value), new Proxy(value, {})]);
  if (value instanceof Offsets) return nearOffsets(world, value);
  if (ArrayBuffer.isView(value)) return nearArray(world, value);
  if (Array.isArray(value)) return nearList(world, value);
  return hostile(world);
}

function nearTensor(world, value) {
  const { shape, dtype, engine, disposed } = value;
  if (disposed || engine !== world.engine) return tensor(world);
  const make = world.pick([
    () => {
      value.dispose();
      return value;
    },
    () => world.tensor([...shape, 1], dtype),
    () => world.tensor(shape.slice(1), dtype),
    () =>
      world.tensor(
        shape.map((n, i) => (i === 0 ? n + 1 : n)),
        dtype,
      ),
    () =>
      world.tensor(
        shape.map((n, i) => (i === shape.length - 1 ? n * 2 : n)),
        dtype,
      ),
    () => world.tensor(shape, world.pick(["f32", "f64", "i32", "u8", "bf16", "f16"])),
    () => world.tensor(shape, dtype, world.other),
    () => (shape.length > 0 ? world.hold(engine.keep(value.rows(0, shape[0] >> 1))) : value),
    () => world.hold(engine.keep(value.view(shape))),
    () =>
      dtype === "i32" ? world.ids(Array(value.size).fill(world.pick([-1, 2 ** 31 - 1]))) : value,
    () => world.array(dtype, value.size),
    () => [...world.array(dtype, value.size)],
    () => tensor(world),
  ]);
  return make();
}

function nearOffsets(world, value) {
  const make = world.pick([
    () => {
      value.dispose();
      return value;
    },
    () => world.hold(new Offsets(world.other, [0, value.total])),
    () => world.hold(new Offsets(world.engine, [0, value.total + 1])),
    () => [0, value.total],
    () => [value.total, 0],
    () => Object.create(Offsets.prototype),
    () => new Proxy(value, {}),
  ]);
  return make();
}

function nearArray(world, value) {
  const type = value.constructor;
  if (type.BYTES_PER_ELEMENT === undefined || value.byteLength === 0) return array(world);
  const make = world.pick([
    () => detached(type.from(value)),
    () => resizable(type, value.length, value.length >> 1),
    () => new type(value.length + 1),
    () => value.slice(1),
    () => [...value],
    () => [...value].map(String),
    () => Float64Array.from(value, Number),
    () => new BigInt64Array(value.length),
    () => shared(type, value),
    () => type.from(value, () => (type === BigInt64Array ? 1n : -1)),
    () => type.from(value, () => (type === BigInt64Array ? 1n : Number.NaN)),
    () => type.from(value).fill(type === BigInt64Array ? 1n : 2 ** 31 - 1),
    () => array(world),
  ]);
  return make();
}

function shared(type, value) {
  const copy = new type(new SharedArrayBuffer(value.length * type.BYTES_PER_ELEMENT));
  copy.set(value);
  return copy;
}

function nearList(world, value) {
  const make = world.pick([
    () => [],
    () => value.slice(1),
    () => [...value, ...value],
    () => [...value, hostile(world, 1)],
    () => value.map((one, i) => (i === 0 ? hostile(world, 1) : one)),
    () => new Set(value),
    () => ({ ...value, length: value.length }),
    () => Object.freeze([...value]),
    () => touchy(world, [...value], "get", value),
    () => {
      const holes = [...value];
      delete holes[0];
      return holes;
    },
  ]);
  return make();
}
