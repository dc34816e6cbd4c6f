import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { summarize } from "./measure.js";

/**
 * Compares two equal buffers, which reads both to their ends, whenever it is told to. The compiler's
 * library does that as fast as a core can read, and owes nothing to firesteel.
 */
const source = `
const { parentPort, workerData } = require("node:worker_threads");
const [a, b] = [Buffer.alloc(workerData, 1), Buffer.alloc(workerData, 1)];
parentPort.on("message", () => parentPort.postMessage(Buffer.compare(a, b)));
parentPort.postMessage("ready");`;

/** GB/s that this many threads read from memory together, by the C library's memcmp. */
export async function readRate(threads: number, rounds = 15): Promise<number> {
  const bytes = Math.max(2 ** 24, 2 ** 28 / threads);
  const workers = Array.from(
    { length: threads },
    () => new Worker(source, { eval: true, workerData: bytes }),
  );
  try {
    const answers = () => Promise.all(workers.map((worker) => once(worker, "message")));
    await answers();
    const ms: number[] = [];
    for (let round = 0; round < rounds; ++round) {
      const done = answers();
      const begun = performance.now();
      for (const worker of workers) worker.postMessage(null);
      await done;
      ms.push(performance.now() - begun);
    }
    return (2 * bytes * threads) / summarize(ms).p20Ms / 1e6;
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
