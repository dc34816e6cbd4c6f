// Native code under sanitizers, and for aarch64 under QEMU:
//   npm run test:sanitize -- [--only STAGE] [--short] [--stress N] [--jobs N] [--json]
import { parseArgs } from "node:util";
import { runStage, stages } from "./stages.mjs";

const help = `npm run test:sanitize -- [options]
  --only STAGE  one of ${stages.map(({ name }) => name).join(", ")}; may be repeated
  --short       the runtime, the emulator and one kernel family, as in continuous integration
  --stress N    rounds of the stress test under TSan, times this (default 50, short 2)
  --jobs N      compilers at once (default 2)
  --json        one object on stdout
`;

function wrongUse(message) {
  process.stderr.write(`${message}\n\n${help}`);
  process.exit(2);
}

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: "string", multiple: true },
        short: { type: "boolean", default: false },
        stress: { type: "string" },
        jobs: { type: "string", default: "2" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    return values;
  } catch (error) {
    return wrongUse(error.message);
  }
}

function count(name, text) {
  if (!/^[1-9]\d*$/.test(text))
    wrongUse(`Expected --${name} to be a positive integer, got ${text}`);
  return Number(text);
}

const flags = parse();
if (flags.help) {
  process.stdout.write(help);
  process.exit(0);
}
const unknown = flags.only?.find((name) => !stages.some((stage) => stage.name === name));
if (unknown !== undefined) wrongUse(`Expected --only to name a stage, got ${unknown}`);
const settings = {
  short: flags.short,
  stress: count("stress", flags.stress ?? (flags.short ? "2" : "50")),
  jobs: count("jobs", flags.jobs),
};

const results = [];
for (const stage of stages.filter(({ name }) => flags.only?.includes(name) ?? true)) {
  const line = process.stderr.isTTY ? (text) => process.stderr.write(`\r\x1b[K${text}`) : () => {};
  results.push(runStage(stage, { ...settings, progress: (at) => line(`${stage.name}: ${at}`) }));
  line("");
}
const findings = results.flatMap((result) => result.findings);
if (flags.json) {
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
