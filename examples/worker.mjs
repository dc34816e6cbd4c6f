// An engine in a worker thread: the main thread stays free, arrays are moved instead of copied, and the worker can be
// ended at any time. Run: node worker.mjs
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { Engine, logProb } from "firesteel";

const rows = 64;
const vocabulary = 2048;

/** In the worker: log-probs and entropies of one batch. */
async function score(engine, logits, targets) {
  const batch = engine.tensor(logits, [targets.length, logits.length / targets.length]);
  const scored = logProb(engine, batch, targets, { entropy: true });
  try {
    const [values, entropy] = await Promise.all([scored.logProb.read(), scored.entropy.read()]);
    return { values, entropy };
  } finally {
    // Garbage collection would do it too, only later.
    for (const tensor of [batch, scored.logProb, scored.entropy, scored.stats]) tensor.dispose();
  }
}

function serve() {
  const engine = new Engine({ device: "cpu" });
  parentPort.on("message", async ({ id, logits, targets }) => {
    try {
      const result = await score(engine, logits, targets);
      // The second argument gives the memory away: nothing is copied.
      parentPort.postMessage({ id, result }, [result.values.buffer, result.entropy.buffer]);
    } catch (error) {
      parentPort.postMessage({ id, error });
    }
  });
}

/** In the main thread: a worker, and a function that asks it. */
function startScorer() {
  const worker = new Worker(fileURLToPath(import.meta.url));
  const waiting = new Map();
  worker.on("message", ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(error);
    else resolve(result);
  });
  // A worker that ends answers nobody any more.
  worker.on("exit", (code) => {
    const error = new Error(`the worker ended with code ${code}`);
    for (const { reject } of waiting.values()) reject(error);
  });
  let asked = 0;
  const ask = (logits, targets) =>
    new Promise((resolve, reject) => {
      const id = asked++;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, logits, targets }, [logits.buffer]);
    });
  return { worker, ask };
}

async function main() {
  const { worker, ask } = startScorer();
  const targets = new Int32Array(rows);
  const makeBatches = (count) =>
    Array.from({ length: count }, () => new Float32Array(rows * vocabulary).map(Math.sin));
  const [first, ...batches] = makeBatches(101);
  await ask(first, targets); // the worker is up

  // Stands for the requests that a server would answer meanwhile.
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const results = await Promise.all(batches.map((batch) => ask(batch, targets)));
  clearInterval(timer);
  const mean = results[0].entropy.reduce((sum, value) => sum + value, 0) / rows;
  console.log(`${results.length} batches scored; mean entropy ${mean.toFixed(3)} nats`);
  console.log(`meanwhile a timer of 1 ms in the main thread fired ${ticks} times`);

  // Ended in the middle of its work. Its engine and its memory go with it.
  const asked = makeBatches(100).map((batch) => ask(batch, targets));
  await worker.terminate();
  const answers = await Promise.allSettled(asked);
  const lost = answers.filter(({ status }) => status === "rejected");
  console.log(`${lost.length} of ${asked.length} batches unanswered: ${lost[0]?.reason.message}`);
}

if (isMainThread) await main();
else serve();
