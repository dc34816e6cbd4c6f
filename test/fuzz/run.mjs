/**
 * libFuzzer over everything that reads foreign bytes (docs/reliability.md): every target in targets/, from the
 * inputs that corpus/ keeps. `--merge` puts new inputs that reach further into corpus/.
 */
import { flag, progress, readFlags, someOf, whole } from "../commandLine.mjs";
import { driverEnvironment } from "./driver/build.mjs";
import { fuzzTarget } from "./fuzzTarget.mjs";
import { targetNames } from "./targets.mjs";

const usage = `npm run test:fuzz -- [--target NAME]... [--seconds 60] [--seed 1] [--merge] [--json]
  targets: ${targetNames.join(", ")}`;

const wanted = readFlags(usage, {
  target: someOf(targetNames),
  seconds: whole(60),
  seed: whole(1),
  merge: flag,
  json: flag,
});
const { env, reason } = driverEnvironment();
if (reason !== undefined) {
  process.stdout.write(
    wanted.json ? `${JSON.stringify({ skipped: reason })}\n` : `skipped: ${reason}\n`,
  );
  process.exit(0);
}

const results = [];
for (const name of wanted.target) {
  progress(`${name}: ${wanted.seconds} s`);
  results.push(await fuzzTarget(name, { ...wanted, env }));
}
progress("");
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
  ].map((row) => row.map((cell) => String(cell ?? "-")));
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
