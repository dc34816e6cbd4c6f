// Native code under sanitizers, and for aarch64 under QEMU.
import { flag, progress, readFlags, someOf, whole } from "../commandLine.mjs";
import { runStage, stages } from "./stages.mjs";

const usage = `npm run test:sanitize -- [options]
  --only STAGE  one of ${stages.map(({ name }) => name).join(", ")}; may be repeated
  --short       the runtime, the emulator and one kernel family, as in continuous integration
  --stress N    rounds of the stress test under TSan, times this (default 50, short 2)
  --jobs N      compilers at once (default 2)
  --json        one object on stdout`;

const { short, only, jobs, json, ...given } = readFlags(usage, {
  only: someOf(stages.map(({ name }) => name)),
  short: flag,
  stress: whole(null),
  jobs: whole(2),
  json: flag,
});
const stress = given.stress ?? (short ? 2 : 50);

const results = [];
for (const stage of stages.filter(({ name }) => only.includes(name))) {
  const tell = (at) => progress(`${stage.name}: ${at}`);
  results.push(runStage(stage, { short, stress, jobs, progress: tell }));
  progress("");
}
const findings = results.flatMap((result) => result.findings);
if (json) {
  process.stdout.write(`${JSON.stringify({ findings: findings.length, stages: results })}\n`);
} else {
  for (const { name, what, ran, cases, seconds, findings: found, skipped } of results) {
    const outcome = ran ? `${cases} cases, ${seconds} s, ${found.length} findings` : "skipped";
    process.stdout.write(`${name.padEnd(9)} ${what}: ${outcome}\n`);
    for (const reason of skipped) process.stdout.write(`${" ".repeat(10)}skipped: ${reason}\n`);
  }
  for (const { where, finding } of findings) process.stdout.write(`\n${where}: ${finding}\n`);
}
process.exit(findings.length === 0 ? 0 : 1);
