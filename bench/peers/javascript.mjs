// Others in JavaScript, for `firesteel bench --peers`: one JSON line in, one out (src/bench/peers/child.ts).
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

/** A library's module exports `open()`: {name, tasks}, tasks by name: (arrays, sizes) => {call, values}. */
const libraries = [
  { name: "tfjs-wasm", module: "./tfjs.mjs" },
  { name: "jax-js", module: "./jaxJs.mjs" },
];

const types = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u8: Uint8Array };
const reply = (message) => process.stdout.write(`${JSON.stringify({ ok: true, ...message })}\n`);

/** The array of a file, as often as it stands there. */
function whole({ file, dtype, shape, repeat }) {
  const bytes = readFileSync(file);
  const part = new types[dtype](
    bytes.buffer,
    bytes.byteOffset,
    bytes.length / types[dtype].BYTES_PER_ELEMENT,
  );
  const data = new types[dtype](part.length * repeat);
  for (let i = 0; i < repeat; ++i) data.set(part, i * part.length);
  return { data, shape: [shape[0] * repeat, ...shape.slice(1)] };
}

async function sampleTimes(call, { samples, sampleMs = 10, budgetMs }) {
  const sample = async (calls) => {
    const begun = performance.now();
    for (let i = 0; i < calls; ++i) await call();
    return performance.now() - begun;
  };
  const one = await sample(1);
  // What takes seconds needs no repetition to be seen.
  if (one > 2000) return [one];
  const calls = Math.max(1, Math.ceil(sampleMs / one));
  const ms = [];
  const begun = performance.now();
  while (ms.length < samples) {
    if (ms.length >= 3 && performance.now() - begun > budgetMs) break;
    ms.push((await sample(calls)) / calls);
  }
  return ms;
}

const open = new Map();
let prepared = null;

const operations = {
  async hello() {
    const missing = [];
    for (const { name, module } of libraries) {
      try {
        const library = await (await import(module)).open();
        open.set(library.name, library);
      } catch (error) {
        const absent = error.code === "ERR_MODULE_NOT_FOUND";
        const reason = absent ? "npm install in bench/peers" : error.message;
        missing.push({ name, reason });
      }
    }
    return { peers: [...open.keys()], missing };
  },
  async prepare({ peer, task, dtype, device, sizes, inputs }) {
    const make = open.get(peer).tasks[task];
    if (make === undefined || dtype !== "f32" || device !== "cpu") return { values: null };
    const arrays = Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, whole(x)]));
    prepared = await make(arrays, sizes);
    const values = Object.entries(await prepared.values());
    return {
      values: Object.fromEntries(values.map(([name, x]) => [name, Array.from(x.slice(0, 1000))])),
    };
  },
  async time(options) {
    return { ms: await sampleTimes(prepared.call, options) };
  },
  async release() {
    await prepared?.release?.();
    prepared = null;
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...request } = JSON.parse(line);
  try {
    reply(await operations[op](request));
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ ok: false, error: error.message })}\n`);
  }
}
process.exit(0);
