// Lifetimes, in their long form.
import { flag, progress, readFlags, text, whole } from "../commandLine.mjs";
import { abortEverywhere, calls } from "./aborts.mjs";
import { findingsOf } from "./child.mjs";

const usage = `npm run test:lifetime -- [--engines 1000] [--workers 100] [--points 150 | --all] [--again 10] [--seed 1]
    [--only TEXT] [--json]
  --points: awaits of a call that are tried; --all: every one, about an hour
  --again K: every K-th of these calls is repeated`;
const flags = readFlags(usage, {
  engines: whole(1000),
  workers: whole(100),
  points: whole(150),
  again: whole(10),
  seed: whole(1),
  only: text(""),
  all: flag,
  json: flag,
});
const wanted = (name) => name.includes(flags.only);
const begun = performance.now();
const rows = [];
const findings = [];
const note = (name, what, found) => {
  rows.push({ name, what, wrong: found.length });
  findings.push(...found);
  progress("");
  if (!flags.json) console.log(`${name.padEnd(46)} ${what}: ${found.length} wrong`);
};

const engines = `engines, threads, files, dropped tensors`;
if (wanted(engines)) {
  progress(engines);
  note(engines, `${flags.engines} engines`, findingsOf("engines.mjs", flags.engines));
}
const terminated = "workers terminated in the middle";
if (wanted(terminated)) {
  progress(terminated);
  const found = findingsOf("terminate.mjs", flags.workers, flags.seed);
  note(terminated, `${flags.workers} workers`, found);
}
for (const scenario of calls.filter(({ name }) => wanted(`abort ${name}`))) {
  progress(`abort ${scenario.name}`);
  const how = { again: flags.again, ...(!flags.all && { points: flags.points }) };
  const { awaits, tried, most, findings: found } = await abortEverywhere(scenario, how);
  const what = `aborted at ${tried} of ${awaits} awaits, at most ${most} passes after it`;
  note(`abort ${scenario.name}`, what, found);
}
progress("");
const seconds = Math.round((performance.now() - begun) / 1000);
if (flags.json) {
  console.log(JSON.stringify({ rows, findings, seconds }));
} else {
  for (const finding of findings) console.log(`  ${finding}`);
  console.log(`${findings.length} findings, ${seconds} s`);
}
process.exitCode = findings.length === 0 ? 0 : 1;
