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

/** Reads memory on a number of threads, whenever it is asked how fast that is at the moment. */
export class MemoryReader {
  readonly #workers: readonly Worker[];
  readonly #bytes: number;

  private constructor(workers: readonly Worker[], bytes: number) {
    this.#workers = workers;
    this.#bytes = bytes;
  }

  static async open(threads: number): Promise<MemoryReader> {
    const bytes = Math.max(2 ** 24, 2 ** 28 / threads);
    const workers = Array.from(
      { length: threads },
      () => new Worker(source, { eval: true, workerData: bytes }),
    );
    const reader = new MemoryReader(workers, bytes);
    await reader.#answers();
    return reader;
  }

  #answers() {
    return Promise.all(this.#workers.map((worker) => once(worker, "message")));
  }

  /** GB/s that the threads read together, by the C library's memcmp; one round in five was faster. */
  async rate(rounds = 9): Promise<number> {
    const ms: number[] = [];
    for (let round = 0; round < rounds; ++round) {
      const done = this.#answers();
      const begun = performance.now();
      for (const worker of this.#workers) worker.postMessage(null);
      await done;
      ms.push(performance.now() - begun);
    }
    return (2 * this.#bytes * this.#workers.length) / summarize(ms).p20Ms / 1e6;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
