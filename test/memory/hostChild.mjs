// Under refuse_host.cc: each point of each scenario once; one line before each, the results at the end.
import { openSync, readSync, writeSync } from "node:fs";
import { Engine } from "../../dist/index.js";
import { digest } from "./digest.mjs";
import { scenarios } from "./scenarios.mjs";

const { names, points } = JSON.parse(process.argv[2]);
const shared = openSync(process.env.FIRESTEEL_REFUSE, "r+");
const arm = (n) => writeSync(shared, Int32Array.of(n, 0), 0, 8, 0);
function refusedNow() {
  const state = new Int32Array(2);
  readSync(shared, state, 0, 8, 0);
  return state[1] > 0;
}

const findings = [];
let refused = 0;
process.on("unhandledRejection", (error) => findings.push(`unhandled: ${error?.stack}`));
for (const scenario of scenarios.filter(({ name }) => names.includes(name))) {
  const engine = new Engine({ device: "cpu", threads: 1 });
  const opened = await scenario.open(engine);
  const expected = digest(await opened.call());
  await engine.synchronize();
  const live = engine.memory().live;
  for (const n of points) {
    console.log(`${scenario.name}: host allocation ${n}`);
    const say = (what) => findings.push(`${scenario.name}: host allocation ${n} refused: ${what}`);
    arm(n);
    let error = null;
    try {
      await opened.call();
    } catch (caught) {
      error = caught;
    }
    const reached = refusedNow();
    arm(0);
    if (error !== null && error.code !== "ERR_OUT_OF_MEMORY") say(`it failed of ${error.stack}`);
    if (!reached) break;
    refused += 1;
    await engine.synchronize();
    const left = engine.memory().live - live;
    if (left > 0) say(`${left} bytes are left`);
    if (scenario.again && digest(await opened.call()) !== expected) say("other bits afterwards");
  }
  await opened.end?.();
  engine.dispose();
}
console.log(JSON.stringify({ refused, findings }));
