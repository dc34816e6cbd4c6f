import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { logProb } from "../../src/engine/kernels/logProb.js";
import { scale } from "../../src/engine/nn/elementwise.js";
import { imports, run } from "../lifetime/runModule.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

/** Shared floats, `before` of them in front of what is wrapped. */
function shared(values: readonly number[], before = 0): Float32Array {
  const array = new Float32Array(new SharedArrayBuffer(4 * (before + values.length)), 4 * before);
  array.set(values);
  return array;
}

describe("wrap", () => {
  it("is the memory itself: calls see what is written there, and write there", async () => {
    const logits = shared([1, 2, 3, 4, 5, 6], 1);
    const out = shared([0, 0]);
    const live = engine.memory().live;
    const wrapped = engine.wrap(logits, [2, 3]);
    expect([wrapped.dtype, wrapped.shape]).toEqual(["f32", [2, 3]]);
    expect(engine.memory().live).toBe(live);
    const results = { logProb: engine.wrap(out), stats: engine.zeros([2, 2]) };
    for (const row of [
      [1, 2, 3],
      [0, 0, 0],
    ]) {
      logits.set(row);
      logits.set(row, 3);
      logProb(engine, wrapped, [0, 2], { out: results });
      await engine.synchronize();
      const sum = row.reduce((total, z) => total + Math.exp(z), 0);
      expect(out[0]).toBeCloseTo(row[0]! - Math.log(sum), 6);
      expect(out[1]).toBeCloseTo(row[2]! - Math.log(sum), 6);
      expect(await results.logProb.read()).toEqual(out.slice());
    }
    wrapped.rows(1, 2).write([7, 8, 9]);
    await engine.synchronize();
    expect([...logits]).toEqual([0, 0, 0, 7, 8, 9]);
  });

  it.each([
    [(memory: SharedArrayBuffer) => new Float64Array(memory, 0, 3), "f64", undefined],
    [(memory: SharedArrayBuffer) => new Int32Array(memory, 0, 3), "i32", undefined],
    [(memory: SharedArrayBuffer) => new Uint8Array(memory, 0, 3), "u8", undefined],
    [(memory: SharedArrayBuffer) => new Uint16Array(memory, 0, 3), "bf16", "bf16"],
    [(memory: SharedArrayBuffer) => new Uint16Array(memory, 0, 3), "f16", "f16"],
  ] as const)("case %#: %s is as told", async (view, expected, dtype) => {
    const data = view(new SharedArrayBuffer(24));
    data.set([1, 2, 3]);
    const wrapped = engine.wrap(data, [3], dtype);
    expect(wrapped.dtype).toBe(expected);
    expect([...(await wrapped.read())]).toEqual([1, 2, 3]);
  });

  it("gives the bits of a copy, at any address", async () => {
    const values = Array.from({ length: 5 * 37 }, (_, i) => Math.sin(i));
    const copy = logProb(engine, engine.tensor(values, [5, 37]), [1, 2, 3, 4, 5]).logProb;
    for (const before of [0, 1, 3, 5]) {
      const wrapped = engine.wrap(shared(values, before), [5, 37]);
      const scored = logProb(engine, wrapped, [1, 2, 3, 4, 5]).logProb;
      expect(await scored.read()).toEqual(await copy.read());
    }
  });

  it("knows which of one buffer's tensors overlap", () => {
    const all = shared([1, 2, 3, 4, 5, 6, 7, 8]);
    const part = (begin: number, end: number) => engine.wrap(all.subarray(begin, end));
    const message = refusal(() => scale(engine, 2, part(0, 4), { out: part(2, 6) }));
    expect(message).toMatch(/^ERR_OPTION: .*memory that the call does not use otherwise for out/);
    expect([...scale(engine, 2, part(0, 4), { out: part(4, 8) }).readSync()]).toEqual([2, 4, 6, 8]);
    const bytes = engine.wrap(new Uint8Array(all.buffer, 4, 4));
    expect(refusal(() => scale(engine, 2, part(0, 4), { out: bytes }))).toMatch(/^ERR_DTYPE/);
    expect([...all]).toEqual([1, 2, 3, 4, 2, 4, 6, 8]);
  });

  it("refuses memory that could vanish, other devices, and what does not fit", () => {
    const six = shared([1, 2, 3, 4, 5, 6]);
    expect(refusal(() => engine.wrap(new Float32Array(6)))).toBe(
      "ERR_OPTION: Expected a typed array in a SharedArrayBuffer for data but received a Float32Array of 6",
    );
    expect(refusal(() => engine.wrap([1, 2] as never))).toMatch(/^ERR_OPTION: .*an array of 2/);
    expect(refusal(() => engine.wrap(six, [2, 2]))).toBe(
      "ERR_SHAPE: Expected 4 elements for shape [2,2] for data but received a Float32Array of 6",
    );
    expect(refusal(() => engine.wrap(six, [6], "f64"))).toMatch(/^ERR_DTYPE/);
    expect(refusal(() => engine.wrap(new Uint16Array(six.buffer)))).toMatch(/^ERR_DTYPE/);
    const closed = new Engine({ device: "cpu" });
    closed.dispose();
    expect(refusal(() => closed.wrap(six))).toMatch(/^ERR_DISPOSED/);
  });

  it("takes no memory, and nothing at all", async () => {
    expect(engine.wrap(shared([])).readSync()).toEqual(new Float32Array(0));
    expect(engine.wrap(shared([]), [0, 3]).shape).toEqual([0, 3]);
  });
});

describe("the memory that is wrapped", { timeout: 60_000 }, () => {
  it("stays while calls are queued that use it, and goes afterwards", () => {
    const { stdout, stderr, status } = run(
      `
      const engine = new Engine({ device: "cpu", threads: 1 });
      const gone = new Set();
      const registry = new FinalizationRegistry((name) => gone.add(name));
      const score = (name, end) => {
        const logits = new Float32Array(new SharedArrayBuffer(4 * 64 * 40000));
        registry.register(logits, name);
        logits.fill(1);
        const wrapped = engine.wrap(logits, [64, 40000]);
        const results = [];
        for (let i = 0; i < 60; ++i) results.push(logProb(engine, wrapped, new Int32Array(64)).logProb);
        end(wrapped);
        return results;
      };
      let right = true;
      for (const [name, end] of [
        ["disposed of", (wrapped) => wrapped.dispose()],
        ["dropped", () => {}],
        ["of which a view is left", (wrapped) => [wrapped.rows(3, 4), wrapped.dispose()]],
      ]) {
        const scored = score(name, end);
        gc();
        // What has gone would be given to the next that asks.
        new Float32Array(new SharedArrayBuffer(4 * 64 * 40000)).fill(Math.random());
        for (const one of scored) {
          for (const x of await one.read()) right &&= Math.abs(x + Math.log(40000)) < 1e-4;
          one.dispose();
        }
      }
      console.log(right);
      for (let i = 0; i < 10; ++i) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        gc();
      }
      console.log([...gone].sort().join(", "));
      // An engine that ends with calls in flight, and a tensor that outlives it.
      const other = new Engine({ device: "cpu", threads: 1 });
      const late = other.wrap(new Float32Array(new SharedArrayBuffer(4 * 64 * 40000)), [64, 40000]);
      for (let i = 0; i < 20; ++i) logProb(other, late, new Int32Array(64));
      other.dispose();
      late.dispose();
      console.log("ended");
      engine.dispose();`,
      "--expose-gc",
    );
    const lines = ["true", "disposed of, dropped, of which a view is left", "ended"];
    expect({ stdout, status }, stderr).toEqual({ stdout: lines.join("\n"), status: 0 });
  });

  it("is shared by the engines of two threads", () => {
    const worker = `${imports}
      import { parentPort, workerData } from "node:worker_threads";
      const engine = new Engine({ device: "cpu", threads: 1 });
      engine.wrap(new Float32Array(workerData)).write([1, 2, 3, 4, 5, 6]);
      await engine.synchronize();
      parentPort.postMessage("written");`;
    const url = `data:text/javascript,${encodeURIComponent(worker)}`;
    const { stdout, stderr, status } = run(`
      import { once } from "node:events";
      import { Worker } from "node:worker_threads";
      const engine = new Engine({ device: "cpu", threads: 1 });
      const workerData = new SharedArrayBuffer(24);
      const wrapped = engine.wrap(new Float32Array(workerData));
      const worker = new Worker(new URL(${JSON.stringify(url)}), { workerData });
      await once(worker, "message");
      console.log(String(await wrapped.read()));
      engine.dispose();`);
    expect({ stdout, status }, stderr).toEqual({ stdout: "1,2,3,4,5,6", status: 0 });
  });
});
