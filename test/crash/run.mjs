// Kills, faults, losses of power, full disks and damage, and what training makes of them.
// --every N: of the points of faultPoints, killPoints and powerCuts each N-th, from the seed's on; 1: all.

import * as firesteel from "../../dist/index.js";
import { readCheckpoint } from "../../dist/trainer/checkpoint.js";
import { flag, progress, readFlags, someOf, whole } from "../commandLine.mjs";
import { damages } from "./damages.mjs";
import { disks } from "./disks.mjs";
import { faultPoints, killPoints } from "./faultPoints.mjs";
import { kills } from "./kills.mjs";
import { pairs } from "./pairs.mjs";
import { powerCuts } from "./powerCuts.mjs";

const parts = { kills, killPoints, faultPoints, powerCuts, disks, damages, pairs };
const usage =
  "npm run test:crash -- [--kills 200] [--every 5] [--seed 1] [--only PART,...] [--short] [--json]";
const { short, json, seed, only, ...given } = readFlags(usage, {
  kills: whole(null),
  every: whole(null),
  seed: whole(1, 0),
  only: someOf(Object.keys(parts)),
  short: flag,
  json: flag,
});
const count = given.kills ?? (short ? 6 : 200);
// A prime that the number of faults of an operation does not share: each operation has some of its faults.
const every = given.every ?? (short ? 97 : 5);

const sizes = short ? { random: 1, resumes: 2, rounds: 1 } : { random: 3, resumes: 60, rounds: 20 };
const api = { ...firesteel, readCheckpoint };
const results = [];
for (const name of only) {
  const tellProgress = (text) => progress(`${name}: ${text}`);
  const how = { api, short, ...sizes, kills: count, every, seed, progress: tellProgress };
  const began = performance.now();
  const result = await parts[name](how);
  progress("");
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  results.push({ part: name, seconds, ...result });
  if (!json) tell(results.at(-1));
}
const failed = results.flatMap(({ failures }) => failures).length;
if (json) console.log(JSON.stringify({ seed, every, short, failed, parts: results }));
else console.log(failed === 0 ? "All held." : `${failed} did not hold.`);
process.exitCode = failed === 0 ? 0 : 1;

function tell({ part, seconds, failures, figures, skipped }) {
  console.log(`${part} (${seconds} s)`);
  for (const [what, number] of Object.entries(figures))
    console.log(`  ${what.padEnd(44)} ${number}`);
  if (skipped) console.log(`  skipped: ${skipped}`);
  for (const failure of failures.slice(0, 20)) console.log(`  FAILED ${failure}`);
  if (failures.length === 0) return;
  const size = `${short ? "--short " : ""}--kills ${count} --every ${every}`;
  console.log(`  again: npm run test:crash -- --only ${part} ${size} --seed ${seed}`);
}
