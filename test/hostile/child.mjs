/**
 * A process that makes calls, in its own thread or in two workers that are terminated now and then. The
 * number of the call that each thread is in stands in a file before the call is made: a crash names it.
 */
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { random } from "../../dist/nn/random.js";
import { makeCalls } from "./batch.mjs";
import { idle, loading } from "./children.mjs";

/** Says in `file`, at a thread's own place, which call it is in. */
function progressIn(file, slot) {
  const place = openSync(file, "r+");
  const number = new Float64Array(1);
  const bytes = new Uint8Array(number.buffer);
  return (call) => {
    number[0] = call;
    writeSync(place, bytes, 0, 8, slot * 8);
  };
}

async function ownThread(job, slot, tell) {
  const at = progressIn(job.progress, slot);
  await makeCalls({ ...job, folder: join(job.folder, `thread${slot}`) }, at, tell);
}

/** Two workers share the calls, every second one each; a terminated one is replaced by the next. */
async function workers(job, tell) {
  const { uniform } = random([job.seed, job.from + 1]);
  const half = (slot) => {
    const middle = job.from + Math.floor((job.to - job.from) / 2);
    return slot === 0 ? { from: job.from, to: middle } : { from: middle, to: job.to };
  };
  const inTurns = async (slot) => {
    const { from, to } = half(slot);
    const at = progressIn(job.progress, slot);
    for (let next = from; next < to; )
      next = await oneWorker(job, slot, { from: next, to }, uniform, at, tell);
  };
  await Promise.all([inTurns(0), inTurns(1)]);
}

/** @returns the call to go on with */
function oneWorker(job, slot, { from, to }, uniform, at, tell) {
  return new Promise((resolve, reject) => {
    const state = new Int32Array(new SharedArrayBuffer(4)).fill(from - 1);
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: { job: { ...job, from, to }, slot, state },
      execArgv: ["--no-warnings"],
    });
    let told = from;
    let finished = false;
    let timer = null;
    worker.on("message", (message) => {
      if (message.started) timer = setTimeout(() => worker.terminate(), 300 + uniform() * 4000);
      else if (message.finished) finished = true;
      else tell(message);
      if (message.tally) told += message.tally.reduce((sum, [, { calls }]) => sum + calls, 0);
    });
    worker.on("error", reject);
    worker.on("exit", () => {
      clearTimeout(timer);
      at(finished ? idle : loading);
      const next = finished ? to : Atomics.load(state, 0) + 1;
      if (next > told) tell({ cut: next - told });
      resolve(next);
    });
  });
}

if (isMainThread) {
  const job = JSON.parse(process.argv[2]);
  const tell = (message) => process.send(message);
  await (job.workers ? workers(job, tell) : ownThread(job, 0, tell));
  process.send({ finished: true }, () => process.exit(0));
} else {
  const { job, slot, state } = workerData;
  const at = progressIn(job.progress, slot);
  let started = false;
  const noted = (call) => {
    if (!started) parentPort.postMessage({ started: true });
    started = true;
    Atomics.store(state, 0, call);
    at(call);
  };
  const folder = join(job.folder, `thread${slot}`);
  await makeCalls({ ...job, folder }, noted, (message) => parentPort.postMessage(message));
  parentPort.postMessage({ finished: true });
}
