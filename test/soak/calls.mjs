// Calls of every kernel family in every way of use, on one thread. The main thread and its workers run this.
import { setImmediate as turn } from "node:timers/promises";
import { Engine, FiresteelError } from "../../dist/index.js";
import { Random } from "../../dist/verify/inputs.js";
import { kernels, makeInputs, sizes, tensorsOf } from "./kernels.mjs";

const names = Object.keys(kernels);

/** What is done with a call and its results, in turn. Nothing that a way makes outlives it, or else the next collection. */
const ways = {
  dispose(engine, inputs, call) {
    for (const tensor of tensorsOf(call(engine, inputs))) tensor.dispose();
  },
  drop(engine, inputs, call) {
    call(engine, inputs);
  },
  scope(engine, inputs, call) {
    engine.scope(() => call(engine, inputs));
  },
  readSync(engine, inputs, call) {
    engine.scope(() => tensorsOf(call(engine, inputs)).at(-1)?.readSync());
  },
  async read(engine, inputs, call) {
    const tensors = tensorsOf(call(engine, inputs));
    await Promise.all(tensors.map((tensor) => tensor.read()));
    for (const tensor of tensors) tensor.dispose();
  },
  out(engine, inputs, call) {
    engine.scope(() => {
      const made = call(engine, inputs);
      if (call.length > 2) call(engine, inputs, made);
    });
  },
  async abort(engine, inputs, call) {
    const tensors = tensorsOf(call(engine, inputs));
    const { signal, ...controller } = abortable();
    const reading = tensors.at(-1)?.read({ signal });
    controller.abort();
    await refused(() => reading, ["ERR_ABORTED"]);
    for (const tensor of tensors) tensor.dispose();
  },
  /** Ids outside of the vocabulary and numbers that are none: rows are reported, nothing throws. */
  fault(engine, inputs, call) {
    const targets = inputs.targets.map((id, t) => (t % 3 === 0 ? inputs.vocab + id : id));
    const uniform = inputs.uniform.fill(Number.NaN);
    engine.scope(() =>
      tensorsOf(call(engine, { ...inputs, targets, uniform }))
        .at(-1)
        ?.readSync(),
    );
    inputs.uniform.fill(0.5);
  },
  async refused(engine, inputs, call) {
    const wrong = {
      ...inputs,
      ...{ logits: null, hidden: "none", logProb: [Number.NaN, {}], values: -1, q: [] },
      ...{ state: new Float64Array(3), table: undefined },
    };
    await refused(() => engine.scope(() => call(engine, wrong)), null);
  },
  async disposed(engine, inputs, call) {
    const gone = engine.tensor([1, 2]);
    gone.dispose();
    const wrong = { logits: gone, hidden: gone, logProb: gone, values: gone, q: gone, state: gone };
    const work = () => engine.scope(() => call(engine, { ...inputs, ...wrong, table: gone }));
    await refused(work, ["ERR_DISPOSED"]);
  },
};
const wayNames = Object.keys(ways);

function abortable() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

async function refused(work, codes) {
  try {
    await work();
  } catch (error) {
    if (error instanceof FiresteelError && (codes?.includes(error.code) ?? true)) return;
    throw error;
  }
}

/**
 * Calls until nobody wants another.
 *
 * @param next whether there is a call left; takes it
 * @param look called now and then, with the engine, between two calls
 * @returns how often every family was called, in every way, and how many faulty rows were reported
 */
export async function runCalls({ seed, next, look }) {
  let faults = 0;
  // One thread: kernels this small run on the caller, and what is soaked is what surrounds them.
  const engine = new Engine({ device: "cpu", threads: 1, onFault: () => (faults += 1) });
  const random = new Random(seed);
  const byFamily = Object.fromEntries(names.map((name) => [name, 0]));
  const byWay = Object.fromEntries(wayNames.map((name) => [name, 0]));
  let inputs = [];
  for (let count = 0; next(); ++count) {
    if (count % 5000 === 0) {
      for (const { dispose } of inputs) dispose();
      inputs = sizes.map((size) => makeInputs(engine, random, size));
    }
    const name = names[random.integer(names.length)];
    const way = wayNames[random.integer(wayNames.length)];
    byFamily[name] += 1;
    byWay[way] += 1;
    try {
      await ways[way](engine, inputs[random.integer(sizes.length)], kernels[name]);
    } catch (error) {
      error.message += ` (${name}, ${way}, call ${count} of seed ${seed})`;
      throw error;
    }
    // Finalizers run between two turns of the event loop: a loop that never ends its turn frees nothing.
    if (count % 100 === 0) await turn();
    await look?.(engine, count);
  }
  for (const { dispose } of inputs) dispose();
  engine.dispose();
  return { byFamily, byWay, faults };
}
