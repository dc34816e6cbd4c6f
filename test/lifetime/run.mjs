// Lifetimes, in their long form:
// node test/lifetime/run.mjs [--engines N] [--workers N] [--every K] [--again K] [--seed S] [--only TEXT] [--json]
import { parseArgs } from "node:util";
import { abortEverywhere, calls } from "./aborts.mjs";
import { findingsOf } from "./child.mjs";

const numbers = { engines: "1000", workers: "100", every: "1", again: "10", seed: "1" };
let flags;
try {
  flags = parseArgs({
    options: {
      ...Object.fromEntries(
        Object.entries(numbers).map(([name, value]) => [name, { type: "string", default: value }]),
      ),
      only: { type: "string", default: "" },
      json: { type: "boolean", default: false },
    },
  }).values;
  for (const name of Object.keys(numbers)) {
    if (!/^[1-9]\d*$/.test(flags[name])) throw new Error(`--${name}: an integer >= 1`);
  }
} catch (error) {
  console.error(error.message);
  process.exit(2);
}
const tell = (text) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);
const wanted = (name) => name.includes(flags.only);
const rows = [];
const findings = [];
const note = (name, what, found) => {
  rows.push({ name, what, wrong: found.length });
  findings.push(...found);
};

const engines = `engines, threads, files, dropped tensors`;
if (wanted(engines)) {
  tell(engines);
  note(engines, `${flags.engines} engines`, findingsOf("engines.mjs", flags.engines));
}
const terminated = "workers terminated in the middle";
if (wanted(terminated)) {
  tell(terminated);
  const found = findingsOf("terminate.mjs", flags.workers, flags.seed);
  note(terminated, `${flags.workers} workers`, found);
}
for (const scenario of calls.filter(({ name }) => wanted(`abort ${name}`))) {
  tell(`abort ${scenario.name}`);
  const how = { every: +flags.every, again: +flags.again };
  const { awaits, tried, most, findings: found } = await abortEverywhere(scenario, how);
  const what = `${awaits} awaits, aborted at ${tried}, at most ${most} passes after it`;
  note(`abort ${scenario.name}`, what, found);
}
tell("");
if (flags.json) {
  console.log(JSON.stringify({ rows, findings }));
} else {
  for (const { name, what, wrong } of rows)
    console.log(`${name.padEnd(46)} ${what}: ${wrong} wrong`);
  for (const finding of findings) console.log(`  ${finding}`);
  console.log(`${findings.length} findings`);
}
process.exitCode = findings.length === 0 ? 0 : 1;
