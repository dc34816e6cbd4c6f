/**
 * The raw addon, called with the arguments that the layer above would give it and one or two of them
 * changed: handles of another engine, swapped, missing, of disposed tensors and closed engines.
 */
import { World } from "./world.mjs";

/** Of one function: the calls of the layer above that reach it. */
const reachedBy = new Map();

/** Makes every valid call once and notes which functions of the addon it reaches. */
export async function findCallers(callable, engines, folder) {
  const candidates = callable.find(({ entry }) => entry === "addon")?.reaching ?? [];
  for (let round = 0; round < 3; ++round) {
    for (const one of candidates) {
      const world = new World(engines, folder, 12345 + round, 1);
      const seen = await record(one, world, null);
      for (const name of seen.keys()) {
        const callers = reachedBy.get(name) ?? reachedBy.set(name, new Set()).get(name);
        callers.add(one);
      }
      await world.end();
      engines.renew();
    }
  }
  return reachedBy;
}

/** The arguments with which a valid call reaches the addon; the calls themselves go through. */
async function record(one, world) {
  const seen = new Map();
  const { addon } = world.engine;
  const watched = new Proxy(addon, {
    get: (object, key) => {
      const value = object[key];
      if (typeof value !== "function") return value;
      return (...args) => {
        seen.set(key, args);
        return value(...args);
      };
    },
  });
  const given = await one.seed(world);
  Object.defineProperty(world.engine, "addon", {
    value: watched,
    configurable: true,
    writable: true,
  });
  try {
    const { self, args } = Array.isArray(given) ? { self: null, args: given } : given;
    const result = one.call(self, args);
    if (typeof result?.then === "function") await result.catch(() => {});
  } catch {
    // What was reached until then has been noted.
  } finally {
    Object.defineProperty(world.engine, "addon", {
      value: addon,
      configurable: true,
      writable: true,
    });
  }
  return seen;
}

/** Valid positional arguments of a function of the addon; null where the picked call did not reach it. */
export async function nativeArguments(name, world) {
  if (name === "open") return [1, 1 << 20, 0];
  if (name === "close") return [world.engine.addon.open(1, 1 << 20, 0).handle];
  const callers = [...(reachedBy.get(name) ?? [])];
  if (callers.length === 0) return null;
  const seen = await record(world.pick(callers), world);
  return seen.get(name) ?? null;
}

/** What a number may be replaced with where it is none that a kernel trusts. */
const noNumbers = [-1, -(2 ** 53), "1", null, undefined, {}, Symbol("s"), 1n, [], () => 1];

/** Functions that check every number they are given. */
const checkingAll = new Set([
  "allocate",
  "wrap",
  "view",
  "read",
  "readSync",
  "write",
  "dispose",
  "memory",
]);

/**
 * One or two arguments changed. Kernels trust what the layer above has checked on the host: positive
 * counts, codes of choices, and the contents of offsets. So their numbers become what is no number, and
 * their handles what is no tensor of the engine and dtype.
 */
export function swapArguments(name, world, args, hostile) {
  const changed = [...args];
  const { addon, handle } = world.engine;
  for (let i = 0; i <= world.below(2); ++i) {
    if (world.chance(0.15)) {
      changed.splice(world.below(changed.length || 1));
      continue;
    }
    const at = world.below(changed.length || 1);
    const number = typeof changed[at] === "number" || typeof changed[at] === "boolean";
    if (checkingAll.has(name)) changed[at] = hostile(world);
    else if (number) changed[at] = world.pick(noNumbers);
    else changed[at] = world.pick(wrongHandles)(world, addon, handle, hostile);
  }
  return changed;
}

const wrongHandles = [
  (_, addon, handle) => addon.allocate(handle, 0, 0),
  (world) => world.other.addon.allocate(world.other.handle, 0, 64),
  (world) => world.other.handle,
  (_, __, handle) => handle,
  (_, addon, handle) => {
    const gone = addon.allocate(handle, 0, 6);
    addon.dispose(gone);
    return gone;
  },
  (world, _, __, hostile) => hostile(world),
  () => null,
  () => undefined,
  () => ({}),
];
