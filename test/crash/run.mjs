// Kills, faults, losses of power, full disks and damage, and what training makes of them.
//   npm run test:crash -- [--kills 200] [--seed 1] [--only PART,...] [--short] [--json]
import { parseArgs } from "node:util";
import * as firesteel from "../../dist/index.js";
import { readCheckpoint } from "../../dist/trainer/checkpoint.js";
import { damages } from "./damages.mjs";
import { disks } from "./disks.mjs";
import { faultPoints, killPoints } from "./faultPoints.mjs";
import { kills } from "./kills.mjs";
import { pairs } from "./pairs.mjs";
import { powerCuts } from "./powerCuts.mjs";

const parts = { kills, killPoints, faultPoints, powerCuts, disks, damages, pairs };
const { values } = parseArgs({
  options: {
    kills: { type: "string" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    short: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const { short, json } = values;
const [seed, count] = [values.seed, values.kills ?? (short ? "6" : "200")].map(Number);
const names = values.only?.split(",") ?? Object.keys(parts);
const unknown = names.find((name) => !(name in parts));
if (unknown !== undefined || !Number.isInteger(seed) || !Number.isInteger(count)) {
  console.error(`expected whole numbers and parts among ${Object.keys(parts).join(", ")}`);
  process.exit(2);
}

const sizes = short
  ? { every: 19, random: 1, resumes: 2, points: 3, rounds: 1 }
  : { every: 1, random: 3, resumes: 60, points: 1000, rounds: 20 };
const api = { ...firesteel, readCheckpoint };
const results = [];
for (const name of names) {
  const progress = (text) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${name}: ${text}`.slice(0, 120));
  };
  const began = performance.now();
  const result = await parts[name]({ api, short, ...sizes, kills: count, seed, progress });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  results.push({ part: name, seconds, ...result });
  if (!json) tell(results.at(-1));
}
const failed = results.flatMap(({ failures }) => failures).length;
if (json) console.log(JSON.stringify({ seed, short, failed, parts: results }));
else console.log(failed === 0 ? "All held." : `${failed} did not hold.`);
process.exitCode = failed === 0 ? 0 : 1;

function tell({ part, seconds, failures, figures, skipped }) {
  console.log(`${part} (${seconds} s)`);
  for (const [what, number] of Object.entries(figures))
    console.log(`  ${what.padEnd(44)} ${number}`);
  if (skipped) console.log(`  skipped: ${skipped}`);
  for (const failure of failures.slice(0, 20)) console.log(`  FAILED ${failure}`);
  if (failures.length === 0) return;
  const size = short ? "--short " : "";
  console.log(
    `  again: npm run test:crash -- --only ${part} ${size}--kills ${count} --seed ${seed}`,
  );
}
