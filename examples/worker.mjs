// An engine in a worker thread: the main thread never waits, results are transferred, the worker can be ended at any time.
// Run: node worker.mjs
import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { Engine, logProb } from "firesteel";

const [rows, vocabulary] = [64, 2048];

/** Answers one batch after the other. Whoever transfers an array gives it away: nothing is copied. */
function answer() {
  const engine = new Engine({ device: "cpu" });
  parentPort.on("message", async ({ id, logits, targets }) => {
    const batch = engine.tensor(logits, [targets.length, logits.length / targets.length]);
    const scored = logProb(engine, batch, targets, { entropy: true });
    const [values, entropy] = await Promise.all([scored.logProb.read(), scored.entropy.read()]);
    for (const tensor of [batch, scored.logProb, scored.entropy, scored.stats]) tensor.dispose();
    parentPort.postMessage({ id, values, entropy }, [values.buffer, entropy.buffer]);
  });
}

async function main() {
  const worker = new Worker(new URL(import.meta.url));
  const waiting = new Map();
  worker.on("message", ({ id, ...result }) => waiting.get(id)(result));
  const score = (id, logits, targets) =>
    new Promise((resolve) => {
      waiting.set(id, resolve);
      worker.postMessage({ id, logits, targets }, [logits.buffer]);
    });

  // A turn of the event loop every time that one is over: stands for a server's other requests.
  let turns = 0;
  let open = true;
  const turn = () => {
    turns += 1;
    if (open) setImmediate(turn);
  };
  turn();

  const batches = Array.from({ length: 20 }, (_, id) => {
    const logits = new Float32Array(rows * vocabulary).map((_, i) => Math.sin(i + id));
    return score(id, logits, new Int32Array(rows).fill(id));
  });
  turns = 0;
  const results = await Promise.all(batches);
  const mean = results[0].entropy.reduce((sum, value) => sum + value, 0) / rows;
  console.log(
    `${results.length} batches of ${rows} rows scored; mean entropy ${mean.toFixed(3)} nats`,
  );
  console.log(`meanwhile the main thread took ${turns} turns of its event loop`);

  // Ends in the middle of a batch; so do its engine and its memory.
  void score(20, new Float32Array(rows * vocabulary), new Int32Array(rows));
  const exited = once(worker, "exit");
  await worker.terminate();
  open = false;
  console.log(`worker ended with code ${(await exited)[0]}`);
}

if (isMainThread) await main();
else answer();
