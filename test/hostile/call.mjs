/** One call: which, with what, and what came of it. Seed and number decide everything. */
import { FiresteelError } from "../../dist/index.js";
import { mutate } from "./mutate.mjs";
import { nativeArguments, swapArguments } from "./native.mjs";
import { hostile } from "./values.mjs";
import { World } from "./world.mjs";

const codes = new Set([
  "ERR_SHAPE",
  "ERR_DTYPE",
  "ERR_RANGE",
  "ERR_OPTION",
  "ERR_DISPOSED",
  "ERR_NO_DEVICE",
  "ERR_OUT_OF_MEMORY",
  "ERR_DEVICE_LOST",
  "ERR_CHECKPOINT",
  "ERR_SAMPLER",
  "ERR_REWARD",
  "ERR_ABORTED",
]);

/** A promise that takes longer counts as one that never settles. */
const patience = 8000;

/** Draws one of the calls, each as often as its weight says. */
export function chooser(callable) {
  const ends = [];
  let sum = 0;
  for (const { weight } of callable) {
    sum += weight;
    ends.push(sum);
  }
  return (uniform) => {
    const at = uniform() * sum;
    return callable[ends.findIndex((end) => at < end)];
  };
}

/**
 * Makes call `number` of `seed`.
 *
 * @returns what came of it: "returned", the code of a FiresteelError, "own" (an error that a value of the
 *   call threw itself), "stack"; or `failure`, a sentence
 */
export async function makeCall(choose, engines, folder, seed, number) {
  const world = new World(engines, folder, seed, number);
  const one = choose(world.uniform);
  const started = performance.now();
  let result;
  let thrown = null;
  try {
    ({ result } = await run(one, world));
  } catch (error) {
    thrown = { error };
  }
  const outcome = judge(one, world, thrown);
  try {
    await world.end(result);
  } catch (error) {
    if (!(error instanceof FiresteelError) && !world.own.has(error)) {
      outcome.failure ??= `freeing its result: ${describe(error)}`;
    }
  }
  return { one, ...outcome, milliseconds: performance.now() - started, own: world.own };
}

async function run(one, world) {
  if (one.entry === "addon") return runNative(one, world);
  const { self, args } = await argumentsOf(one, world);
  if (endless(one.name, args)) return {};
  const stack = world.chance(0.01);
  if (world.chance(0.02)) {
    engineFault(world);
  }
  const result = stack ? nearTheEnd(() => one.call(self, args)) : one.call(self, args);
  return settled(result);
}

/** Faulty rows are reported to a callback that misbehaves. */
function engineFault(world) {
  world.engines.onFault = () => {
    if (world.chance(0.5)) world.fail(new Error("mine"));
    world.engine.dispose();
  };
}

/** With nothing to end them these are real runs, or wait for a server, for many minutes. */
function endless(name, [first]) {
  if (name === "OpenAISampler.connect") return first?.patienceSeconds === undefined;
  if (name === "train") return first === undefined || first?.steps === undefined;
  return name === "replicate" && first === undefined;
}

/** Valid arguments with one or two places changed, or arguments of any kind. */
async function argumentsOf(one, world) {
  const given = await one.seed(world);
  const { self, args } = Array.isArray(given) ? { self: null, args: given } : given;
  const kind = world.uniform();
  if (kind < 0.12) {
    const count = world.below(5);
    return { self, args: Array.from({ length: count }, () => hostile(world)) };
  }
  // What its object, or the engine of it, has gone.
  if (kind < 0.14) self?.dispose?.();
  else if (kind < 0.16 && self !== null) world.engine.dispose();
  if (kind < 0.2) return { self, args };
  return { self, args: mutate(world, args, 1 + world.below(2)) };
}

async function runNative(one, world) {
  const args = await nativeArguments(one.name, world);
  if (args === null) return {};
  const { addon } = world.engine;
  if (world.chance(0.05)) world.engine.dispose();
  return settled(addon[one.name](...swapArguments(one.name, world, args, hostile)));
}

/** What a promise or an asynchronous generator comes to; within an object, so that no `then` of it is called. */
async function settled(result) {
  if (typeof result?.[Symbol.asyncIterator] === "function") {
    const walk = async () => {
      for await (const _ of result);
    };
    return { result: await inTime(walk()) };
  }
  return { result: result instanceof Promise ? await inTime(result) : result };
}

class Never extends Error {}

function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Never(`not settled after ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Makes a call where the stack has room for little more, at a depth that differs from call to call. */
function nearTheEnd(call) {
  let deepest = 0;
  const measure = (depth) => {
    deepest = depth;
    measure(depth + 1);
  };
  try {
    measure(0);
  } catch {
    // Now known.
  }
  const descend = (left) => (left <= 0 ? call() : descend(left - 1));
  return descend(Math.floor(deepest * 0.9));
}

function judge(one, world, thrown) {
  if (thrown === null) return { outcome: "returned" };
  const { error } = thrown;
  if (error instanceof FiresteelError && codes.has(error.code)) return { outcome: error.code };
  if (world.own.has(error)) return { outcome: "own" };
  if (error instanceof RangeError && /call stack/.test(error.message)) return { outcome: "stack" };
  if (one.internal && error instanceof TypeError) return { outcome: "TypeError" };
  return { outcome: "failure", failure: describe(error) };
}

/** An error with the first places in the sources that it came from. */
export function describe(error) {
  if (!(error instanceof Error)) return `threw ${typeof error}`;
  const places = (error.stack ?? "")
    .split("\n")
    .filter((line) => /\/dist\//.test(line))
    .slice(0, 3)
    .map((line) => line.replace(/^.*\/dist\/(.*?):(\d+):\d+\)?$/, "$1:$2"));
  return `${error.name}: ${error.message.slice(0, 200)} (${places.join(" < ")})`;
}
