/** Calls one after the other in this thread, what came of them, and whether the engine is as before. */
import { mkdirSync, rmSync } from "node:fs";
import { logProb } from "../../dist/index.js";
import { chooser, describe, makeCall } from "./call.mjs";
import { entries } from "./entries.mjs";
import { findCallers } from "./native.mjs";
import { closeServed } from "./seeds/runs.mjs";
import { Engines } from "./world.mjs";

/** Calls between two looks at the engine. */
const batch = 250;

/** Reports are sent after so many calls; what a terminated worker had not sent is lost. */
const reportEvery = 50;

/**
 * Makes the calls `from` to `to` of `seed`.
 *
 * @param at told the number of every call before it is made
 * @param tell told tallies (calls since the last report) and failures
 */
export async function makeCalls({ seed, from, to, device, only, folder }, at, tell) {
  mkdirSync(folder, { recursive: true });
  const engines = new Engines(device);
  const { callable } = await entries();
  const chosen = callable.filter(({ id, entry }) =>
    device === "cpu" ? matches(id, only) : entry === "nn" || isKernel(id),
  );
  const choose = chooser(chosen);
  await findCallers(callable, engines, folder);
  const watch = watchProcess();
  let tally = new Map();
  let current = from;
  for (; current < to; ++current) {
    at(current);
    const { one, outcome, failure, milliseconds, own } = await makeCall(
      choose,
      engines,
      folder,
      seed,
      current,
    );
    count(tally, one.id, outcome, milliseconds, current);
    for (const error of watch.taken(own))
      tell({ failure: `outside of the call: ${describe(error)}`, id: one.id, call: current });
    if (failure !== undefined) tell({ failure, id: one.id, call: current });
    // The addon was asked to close it: the layer above does not know.
    if (one.id === "addon/close") engines.engine.dispose();
    engines.renew();
    if ((current + 1) % reportEvery === 0) {
      tell({ tally: [...tally] });
      tally = new Map();
    }
    if ((current + 1) % batch !== 0 && current + 1 !== to) continue;
    const spoilt = await spoiltEngine(engines).catch(describe);
    if (spoilt !== null) {
      tell({ failure: `after a batch of ${batch}: ${spoilt}`, id: one.id, call: current });
      engines.engine.dispose();
      engines.renew();
    }
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  tell({ tally: [...tally] });
  await closeServed();
  watch.end();
  engines.dispose();
}

const matches = (id, only) => only === null || id.includes(only);

/** What the emulated device is called with: kernels alone, it is slow. */
function isKernel(id) {
  return /^firesteel\/(logProb|linearLogProb|groupNorm|klEst|surrogate|tokenLoss|rowScore|groupLoss|divergence|gaussian|bernoulli|flowStep|Tensor#)/.test(
    id,
  );
}

function count(tally, id, outcome, milliseconds, call) {
  const entry = tally.get(id) ?? { calls: 0, outcomes: {}, slowest: 0, slowestCall: call };
  entry.calls += 1;
  entry.outcomes[outcome] = (entry.outcomes[outcome] ?? 0) + 1;
  if (milliseconds > entry.slowest) {
    entry.slowest = milliseconds;
    entry.slowestCall = call;
  }
  tally.set(id, entry);
}

/** What nobody caught. */
function watchProcess() {
  const caught = [];
  const take = (error) => caught.push(error);
  process.on("unhandledRejection", take);
  process.on("uncaughtException", take);
  const owned = new Set();
  return {
    taken(own) {
      for (const error of own) owned.add(error);
      return caught.splice(0).filter((error) => !owned.has(error));
    },
    end() {
      process.off("unhandledRejection", take);
      process.off("uncaughtException", take);
    },
  };
}

/** Whether a known result is still right and nothing lives that nobody holds; a sentence where not. */
async function spoiltEngine(engines) {
  const { engine } = engines;
  const { logProb: scored, stats } = logProb(
    engine,
    engine.tensor([0, 0, 0, Math.log(2)], [2, 2]),
    [0, 1],
  );
  const [first, second] = await scored.read();
  if (Math.abs(first - Math.log(1 / 2)) > 1e-6 || Math.abs(second - Math.log(2 / 3)) > 1e-6) {
    return `log-probs of a known row are ${first} and ${second}`;
  }
  scored.dispose();
  stats.dispose();
  for (let tries = 0; ; ++tries) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 1));
    await engine.synchronize();
    const { live } = engine.memory();
    if (live === 0 || global.gc === undefined) return null;
    if (tries === 40) return `${live} bytes live that nobody holds`;
  }
}
