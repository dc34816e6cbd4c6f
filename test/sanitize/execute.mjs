import { spawnSync } from "node:child_process";

const report = /(?:ERROR|WARNING): \w+Sanitizer|: runtime error: |FATAL: \w+Sanitizer/;
const kept = 14;

/** Runs a program to its end: its status, its signal, all that it wrote, and for how long. */
export function run(program, args, env = {}, cwd = undefined) {
  const started = performance.now();
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 1 << 30,
    timeout: 3_600_000,
  });
  const output = `${stdout ?? ""}${stderr ?? ""}${error === undefined ? "" : error.message}`;
  return { status, signal, output, seconds: (performance.now() - started) / 1000 };
}

/** The first lines of a sanitizer's report in the output, or null. */
export function reportIn(output) {
  const lines = output.split("\n");
  const first = lines.findIndex((line) => report.test(line));
  return first < 0 ? null : lines.slice(first, first + kept).join("\n");
}

/** What is wrong with a run that should have ended well: a report, or how else it ended. Or null. */
export function findingOf({ status, signal, output }) {
  const found = reportIn(output);
  if (found !== null || status === 0) return found;
  const last = output.trimEnd().split("\n").slice(-kept).join("\n");
  return `ended with ${signal ?? `exit code ${status}`}:\n${last}`;
}

/** Doctest's count of cases, and the reasons that cases gave for doing nothing. */
export function casesIn(output) {
  const count = /test cases:\s*(\d+)/.exec(output)?.[1] ?? "0";
  const skipped = [...output.matchAll(/MESSAGE: skipped: (.*)/g)].map(([, reason]) => reason);
  return { cases: Number(count), skipped };
}
