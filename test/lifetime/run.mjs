// Lifetimes, in their long form, some minutes: node test/lifetime/run.mjs [--engines N] [--workers N]
//   [--points N: awaits of a call that are tried | --all: every one, about an hour]
//   [--again K: every K-th of these calls is repeated] [--seed S] [--only TEXT] [--json]
import { parseArgs } from "node:util";
import { abortEverywhere, calls } from "./aborts.mjs";
import { findingsOf } from "./child.mjs";

const numbers = { engines: "1000", workers: "100", points: "150", again: "10", seed: "1" };
let flags;
try {
  flags = parseArgs({
    options: {
      ...Object.fromEntries(
        Object.entries(numbers).map(([name, value]) => [name, { type: "string", default: value }]),
      ),
      only: { type: "string", default: "" },
      all: { type: "boolean", default: false },
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
const begun = performance.now();
const rows = [];
const findings = [];
const note = (name, what, found) => {
  rows.push({ name, what, wrong: found.length });
  findings.push(...found);
  tell("");
  if (!flags.json) console.log(`${name.padEnd(46)} ${what}: ${found.length} wrong`);
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
  const how = { again: +flags.again, ...(!flags.all && { points: +flags.points }) };
  const { awaits, tried, most, findings: found } = await abortEverywhere(scenario, how);
  const what = `aborted at ${tried} of ${awaits} awaits, at most ${most} passes after it`;
  note(`abort ${scenario.name}`, what, found);
}
tell("");
const seconds = Math.round((performance.now() - begun) / 1000);
if (flags.json) {
  console.log(JSON.stringify({ rows, findings, seconds }));
} else {
  for (const finding of findings) console.log(`  ${finding}`);
  console.log(`${findings.length} findings, ${seconds} s`);
}
process.exitCode = findings.length === 0 ? 0 : 1;
