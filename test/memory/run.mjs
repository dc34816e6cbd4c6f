// Memory that is not there, in its long form.
import { flag, progress, readFlags, text, whole } from "../commandLine.mjs";
import { refuseHost, withoutHost } from "./host.mjs";
import { sweep } from "./limits.mjs";
import { refuse } from "./refused.mjs";
import { scenarios } from "./scenarios.mjs";

const usage = `npm run test:memory -- [--points 200] [--tries 40 | --all] [--growth 25] [--only TEXT] [--json]
  --points: of a call's allocations
  --tries: of these in runs of training, and from the host; --all: every one, about an hour
  --growth: of the memory limit from one try to the next, in percent`;
const given = readFlags(usage, {
  points: whole(200),
  tries: whole(40),
  growth: whole(25),
  only: text(""),
  all: flag,
  json: flag,
});
const last = given.points;
const spread = (count) =>
  Array.from({ length: count }, (_, i) => 1 + Math.floor((i * last) / count));
const points = spread(last);
// A run of training is begun anew for each, and while the host refuses, Node's own allocations are looked at.
const fewer = given.all ? points : spread(Math.min(last, given.tries));

const begun = performance.now();
const findings = [];
process.on("unhandledRejection", (error) => findings.push(`unhandled rejection: ${error?.stack}`));
const chosen = scenarios.filter(({ name }) => name.includes(given.only));
const rows = [];
function note(name, count, wrong, asked) {
  rows.push([name, count, wrong.length, asked]);
  findings.push(...wrong);
  progress("");
  if (given.json) return;
  const of = asked === undefined ? "" : ` of at most ${asked}`;
  console.log(`${name.padEnd(48)} ${count} refused${of}, ${wrong.length} wrong`);
}
for (const scenario of chosen) {
  progress(scenario.name);
  const tried = scenario.name.startsWith("train") ? fewer : points;
  const result = await refuse(scenario, tried);
  const wrong = result.findings.map((what) => `${what} (repeat: --only "${scenario.name}")`);
  note(scenario.name, result.refused, wrong, tried.length);
}
const systems = ["grpo", "spark", "ppo", "flow-grpo"].filter((id) =>
  `limit ${id}`.includes(given.only),
);
for (const system of systems) {
  progress(`limit ${system}`);
  const {
    refused,
    enough,
    findings: found,
  } = await sweep(system, { growth: 1 + given.growth / 100 });
  note(`limit ${system}, enough at ${enough} bytes`, refused, found);
}
// Without training: every one of its points would begin a run anew.
const names = chosen.map(({ name }) => name).filter((name) => !name.startsWith("train"));
const kernels = names.filter((name) => name.startsWith("kernel"));
const others = names.filter((name) => !kernels.includes(name));
const missing = names.length === 0 ? "no scenario is chosen" : withoutHost();
for (const [what, own, tried] of [
  ["kernels", kernels, points],
  ["all else", others, fewer],
]) {
  if (missing !== null || own.length === 0) continue;
  progress(`the host refuses: ${what}`);
  const { refused, findings: found } = refuseHost(own, tried);
  note(`by the host: ${what}`, refused, found, own.length * tried.length);
}
progress("");
const refused = rows.reduce((sum, [, count]) => sum + count, 0);
const seconds = Math.round((performance.now() - begun) / 1000);
if (given.json) {
  console.log(JSON.stringify({ refused, rows, findings, skipped: missing, seconds }));
} else {
  if (missing !== null) console.log(`refusals by the host: skipped, ${missing}`);
  for (const finding of findings) console.log(`  ${finding}`);
  console.log(`${refused} allocations refused, ${findings.length} findings, ${seconds} s`);
}
process.exitCode = findings.length === 0 ? 0 : 1;
