/**
 * libFuzzer over everything that reads foreign bytes (docs/reliability.md): every target in targets/, from the
 * inputs that corpus/ keeps. `--merge` puts new inputs that reach further into corpus/.
 */
import { parseArgs } from "node:util";
import { driverEnvironment } from "./driver/build.mjs";
import { fuzzTarget } from "./fuzzTarget.mjs";
import { targetNames } from "./targets.mjs";

const usage = `npm run test:fuzz -- [--target NAME]... [--seconds 60] [--seed 1] [--merge] [--json]
  targets: ${targetNames.join(", ")}`;

function options() {
  const { values } = parseArgs({
    options: {
      target: { type: "string", multiple: true, default: targetNames },
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "1" },
      merge: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  const unknown = values.target.find((name) => !targetNames.includes(name));
  if (unknown !== undefined) throw new Error(`there is no target ${unknown}`);
  if (!(Number.isInteger(seconds) && seconds > 0))
    throw new Error("--seconds takes a whole number > 0");
  if (!(Number.isInteger(seed) && seed > 0)) throw new Error("--seed takes a whole number > 0");
  return { ...values, seconds, seed };
}

let wanted;
try {
  wanted = options();
} catch (error) {
  process.stderr.write(`${error.message}\n${usage}\n`);
  process.exit(2);
}
if (wanted.help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}
const { env, reason } = driverEnvironment();
if (reason !== undefined) {
  process.stdout.write(
    wanted.json ? `${JSON.stringify({ skipped: reason })}\n` : `skipped: ${reason}\n`,
  );
  process.exit(0);
}

const results = [];
for (const name of wanted.target) {
  if (process.stderr.isTTY) process.stderr.write(`${name}: ${wanted.seconds} s\n`);
  results.push(await fuzzTarget(name, { ...wanted, env }));
}
const findings = results.flatMap(({ finding }) => (finding === null ? [] : [finding]));
if (wanted.json) {
  process.stdout.write(
    `${JSON.stringify({ seed: wanted.seed, findings: findings.length, results })}\n`,
  );
} else {
  const rows = [
    ["target", "executions", "edges", "features", "kept", "peak MB", "finding"],
    ...results.map((r) => [
      ...[
        r.name,
        r.executions,
        r.edges.join(" -> "),
        r.features.join(" -> "),
        r.kept,
        r.peakMegabytes,
      ],
      r.finding === null ? "none" : r.finding.message,
    ]),
  ].map((row) => row.map(String));
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows) {
    process.stdout.write(
      `${row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join("  ")
        .trimEnd()}\n`,
    );
  }
  for (const { message, input, repeat } of findings) {
    process.stdout.write(`\n${message}\n  input: ${input}\n  repeat: ${repeat}\n`);
  }
}
process.exit(findings.length === 0 ? 0 : 1);
