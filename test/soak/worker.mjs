// A thread that makes calls until the count that all threads share is used up.
import { parentPort, workerData } from "node:worker_threads";
import { runCalls } from "./calls.mjs";
import { quantities, readMemory } from "./memory.mjs";

const { seed, calls, every, left, own } = workerData;
const shared = new Int32Array(left);
const readings = new Float64Array(own);

const result = await runCalls({
  seed,
  next: () => Atomics.sub(shared, 0, 1) > 0,
  async look(engine, count) {
    if (count % Math.max(1, Math.floor(every / 4)) !== 0) return;
    const memory = await readMemory(engine);
    for (const [i, name] of quantities.entries()) readings[i] = memory[name];
  },
});
parentPort.postMessage({ ...result, calls });
