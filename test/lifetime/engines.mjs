// In a process of its own: engines one after the other, dropped ones, two at once; prints what is wrong as JSON.
// node --expose-gc test/lifetime/engines.mjs [ENGINES]
import { readdirSync } from "node:fs";
import { Engine } from "../../dist/engine/engine.js";
import { logProb } from "../../dist/engine/kernels/logProb.js";

const engines = Number(process.argv[2] ?? 1000);
const findings = [];
const expect = (name, found, bound) => {
  if (found > bound) findings.push(`${name}: ${found}, expected at most ${bound}`);
};
const turn = () => new Promise((resolve) => setImmediate(resolve));
const threads = () => readdirSync("/proc/self/task").length;
const files = () => readdirSync("/proc/self/fd").length;
async function collect(rounds = 5) {
  for (let i = 0; i < rounds; ++i) {
    gc();
    await turn();
  }
}
/** Work that is still queued when this returns. */
function busy(engine) {
  const logits = engine.zeros([32, 40_000]);
  for (let i = 0; i < 8; ++i) logProb(engine, logits, new Int32Array(32));
}

{
  const warm = new Engine({ device: "cpu", threads: 2 });
  busy(warm);
  warm.dispose();
}
const [ownThreads, ownFiles] = [threads(), files()];
for (let i = 0; i < engines; ++i) {
  const engine = new Engine({ device: "cpu", threads: 2 });
  if (i % 10 === 0) busy(engine);
  else engine.tensor([1, 2, 3]).readSync();
  engine.dispose();
}
expect(`threads after ${engines} engines`, threads(), ownThreads);
expect(`open files after ${engines} engines`, files(), ownFiles);

for (let i = 0; i < 20; ++i) busy(new Engine({ device: "cpu", threads: 2 }));
await collect(10);
expect("threads after 20 engines that nobody disposed of", threads(), ownThreads);

const engine = new Engine({ device: "cpu" });
await collect();
// 6.4 GiB in all, and nobody calls gc(): V8 must be told of tensors, and of storages that only a view holds.
for (const dropped of [(tensor) => tensor, (tensor) => [tensor.rows(0, 1), tensor.dispose()]]) {
  const own = new Engine({ device: "cpu" });
  for (let i = 0; i < 400; ++i) {
    dropped(own.empty([2 ** 22]));
    await turn();
  }
  expect("peak of 400 dropped tensors of 16 MiB", own.memory().peak, 2 ** 31);
  own.dispose();
}

function drop() {
  const { logProb: scored } = logProb(engine, engine.zeros([64, 1000]), new Int32Array(64));
  engine.scope(() => [engine.zeros([1000]), scored.rows(0, 3)]);
}
for (let i = 0; i < 50; ++i) drop();
await collect();
await engine.synchronize();
await collect();
expect("live bytes of 50 dropped calls", engine.memory().live, 2 ** 18);

const tight = new Engine({ device: "cpu", memoryLimit: 2 ** 26 });
let refused = 0;
try {
  // Nothing returns to the event loop here: finalisers cannot run.
  for (let i = 0; i < 100; ++i) tight.empty([2 ** 20]);
} catch {
  refused = 1;
}
expect("garbage that stood in the way of an allocation", refused, 0);
tight.dispose();

const [a, b] = [1, 2].map((count) => new Engine({ device: "cpu", threads: count }));
const logits = Float32Array.from({ length: 64 * 5000 }, (_, i) => Math.sin(i));
const score = (one) => logProb(one, one.tensor(logits, [64, 5000]), new Int32Array(64)).logProb;
const both = [score(a), score(b), score(a), score(b)];
const [first, ...others] = (await Promise.all(both.map((one) => one.read()))).map(String);
for (const other of others) if (other !== first) findings.push("two engines give other bits");
let code = null;
try {
  logProb(a, b.zeros([1, 2]), [0]);
} catch (error) {
  code = error.code;
}
if (code !== "ERR_OPTION") findings.push(`the other engine's tensor is refused with ${code}`);
console.log(JSON.stringify({ engines, findings }));
