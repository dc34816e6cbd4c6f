// Workers that are terminated at random moments of their work, while this thread uses an engine of its own.
// node test/lifetime/terminate.mjs WORKERS SEED
import { Worker } from "node:worker_threads";
import { Engine } from "../../dist/engine/engine.js";
import { logProb } from "../../dist/engine/kernels/logProb.js";

const [workers, seed] = process.argv.slice(2).map(Number);
const engineUrl = new URL("../../dist/engine/", import.meta.url).href;
const source = `
  import { Engine } from "${engineUrl}engine.js";
  import { logProb } from "${engineUrl}kernels/logProb.js";
  import { parentPort, workerData } from "node:worker_threads";
  const engine = new Engine({ device: "cpu", threads: 2, memoryLimit: 1 << 24 });
  const logits = engine.zeros([64, 20000]);
  parentPort.postMessage("busy");
  while (true) {
    const scored = logProb(engine, logits, new Int32Array(64));
    if (workerData === 0) scored.logProb.readSync();
    if (workerData === 1) await Promise.all([scored.logProb.read(), engine.synchronize()]);
    if (workerData === 2) try { for (;;) engine.empty([1 << 20]).rows(0, 1); } catch {}
    if (workerData === 3) engine.tensor(new Float32Array(4096)).read();
    scored.logProb.dispose();
    scored.stats.dispose();
  }`;
const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
let state = seed >>> 0;
const uniform = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};

const engine = new Engine({ device: "cpu", threads: 2 });
const logits = engine.tensor(
  Float32Array.from({ length: 8 * 3000 }, (_, i) => Math.cos(i)),
  [8, 3000],
);
const score = async () => {
  const { logProb: scored, stats } = logProb(engine, logits, new Int32Array(8));
  stats.dispose();
  return String(await scored.read().finally(() => scored.dispose()));
};
const expected = await score();
let same = true;
for (let i = 0; i < workers; ++i) {
  const worker = new Worker(url, { workerData: i % 4 });
  await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
  const until = performance.now() + 30 * uniform();
  do same &&= (await score()) === expected;
  while (performance.now() < until);
  await worker.terminate();
}
console.log(
  JSON.stringify({ workers, findings: same ? [] : ["this thread's engine gave other bits"] }),
);
