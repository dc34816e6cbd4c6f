// Kernel calls from the main thread and two workers at once, and what they leave in memory.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { runCalls } from "./calls.mjs";
import { judge, quantities, readMemory } from "./memory.mjs";

/**
 * The smallest block that malloc hands out: a call that leaves anything native behind rises faster than that. One
 * that leaves a JavaScript object behind too, since none is smaller than 24 bytes and something must hold it.
 */
const boundBytes = 32;

/**
 * @param calls over all threads
 * @param report told of every reading
 * @returns samples, slopes with what is held against them, and how often what was called
 */
export async function soakCalls({ calls, seed, workers = 2, readings = 60, report }) {
  const every = Math.max(1, Math.floor(calls / readings));
  const left = new SharedArrayBuffer(4);
  const shared = new Int32Array(left).fill(calls);
  const threads = Array.from({ length: workers }, (_, i) => {
    const own = new SharedArrayBuffer(8 * quantities.length);
    const workerData = { seed: seed + 1 + i, every, left, own };
    const worker = new Worker(new URL("./worker.mjs", import.meta.url), { workerData });
    return { readings: new Float64Array(own), done: once(worker, "message"), worker };
  });
  const samples = [];
  let due = every;
  const own = runCalls({
    seed,
    next: () => Atomics.sub(shared, 0, 1) > 0,
    async look(engine) {
      const at = calls - Math.max(0, Atomics.load(shared, 0));
      if (at < due) return;
      due = at + every;
      const memory = await readMemory(engine);
      // Resident memory is the process's; the rest is every thread's own.
      for (const [i, name] of quantities.entries()) {
        if (name === "rss") continue;
        for (const thread of threads) memory[name] += thread.readings[i];
      }
      samples.push({ at, ...memory });
      report?.("calls", samples.at(-1));
    },
  });
  const results = [await own, ...(await Promise.all(threads.map(({ done }) => done))).flat()];
  const total = (of) =>
    results.map(of).reduce((sum, counts) => {
      for (const [name, count] of Object.entries(counts)) sum[name] = (sum[name] ?? 0) + count;
      return sum;
    }, {});
  return {
    ...{ calls, threads: 1 + workers, samples, ...judge(samples, boundBytes) },
    ...{ families: total((r) => r.byFamily), ways: total((r) => r.byWay) },
    faultReports: results.reduce((sum, { faults }) => sum + faults, 0),
  };
}
