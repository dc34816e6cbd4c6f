// Engines from their opening to their end, in every way that they end: node lifecycle.mjs DIST SCENARIO
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const [dist, scenario] = isMainThread ? process.argv.slice(2) : workerData;
const { Engine, logProb } = await import(pathToFileURL(join(dist, "index.js")).href);

/** A queue of calls, the last one's results. */
function busy(engine, calls) {
  const logits = engine.zeros([16, 20_000]);
  for (let i = 1; i < calls; ++i) logProb(engine, logits, new Int32Array(16));
  return logProb(engine, logits, new Int32Array(16));
}

const code = (error) => error.code;

function expect(what, seen, wanted) {
  if (seen !== wanted) throw new Error(`${what}: expected ${wanted}, received ${seen}`);
}

/** Resolves when the worker has work in flight. */
function startWorker() {
  const worker = new Worker(new URL(import.meta.url), { workerData: [dist, "worker"] });
  return new Promise((resolve, reject) => {
    worker.once("message", () => resolve(worker)).once("error", reject);
  });
}

const scenarios = {
  /** Two engines side by side, one disposed of with work in flight. */
  async engines() {
    const [one, two] = [new Engine({ device: "cpu", threads: 2 }), new Engine({ device: "cpu" })];
    for (let round = 0; round < 3; ++round) {
      const [a, b] = [busy(one, 5), busy(two, 5)];
      const [x, y] = await Promise.all([a.logProb.read(), b.logProb.read()]);
      expect("two engines", x[0], y[0]);
      expect("readSync", b.logProb.readSync()[0], y[0]);
    }
    const pending = busy(one, 100).logProb.read().catch(code);
    const waiting = one.synchronize().catch(code);
    one.dispose();
    expect("a read in flight", await pending, "ERR_DISPOSED");
    expect("synchronize in flight", await waiting, "ERR_DISPOSED");
    await two.synchronize();
    two.dispose();
  },

  /** Refused allocations, faulty rows, tensors that nobody disposed of. */
  async memory() {
    const engine = new Engine({ device: "cpu", memoryLimit: 1 << 24, onFault: () => {} });
    for (let i = 0; i < 200; ++i) {
      try {
        engine.zeros([1 << 20]);
      } catch (error) {
        expect("a refused allocation", error.code, "ERR_OUT_OF_MEMORY");
        globalThis.gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    globalThis.gc();
    const logits = engine.tensor(new Float32Array(8).fill(Number.NaN), [2, 4]);
    const { logProb: faulty } = logProb(engine, logits, new Int32Array(2));
    expect("a faulty row", Number.isNaN((await faulty.read())[0]), true);
    engine.dispose();
  },

  /** Workers terminated in the middle of a kernel. */
  async workers() {
    for (let round = 0; round < 3; ++round) {
      const workers = await Promise.all([startWorker(), startWorker()]);
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
    const engine = new Engine({ device: "cpu" });
    await busy(engine, 3).logProb.read();
    engine.dispose();
  },

  async worker() {
    const engine = new Engine({ device: "cpu", threads: 2 });
    parentPort.postMessage("busy");
    while (true) {
      const scored = busy(engine, 4);
      await Promise.all([scored.logProb.read(), engine.synchronize()]);
    }
  },

  /** The program ends by itself with work in flight. */
  async end() {
    busy(new Engine({ device: "cpu" }), 50);
  },

  /** process.exit() with work in flight, here and in a worker. */
  async exit() {
    await startWorker();
    busy(new Engine({ device: "cpu" }), 50);
    process.exit(0);
  },
};

await scenarios[scenario]();
