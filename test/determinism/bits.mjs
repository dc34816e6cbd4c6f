import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What a clock decides, and so differs between any two runs. */
const timed = /(^|\/)(step_time$|tokens_per_second\/|time\/)/;

/**
 * What a run that is over has computed, to the bit: weights and moments of its last checkpoint (the float32
 * masters are among the moments) and every metric of every step.
 */
export function bitsOf(out, steps) {
  const folder = join(out, `checkpoint-${steps}`);
  const weights = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith(".safetensors"))
    .sort();
  const files = weights.map((file) => [file, sha256(readFileSync(join(folder, file)))]);
  const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  return {
    files: Object.fromEntries(files),
    metrics: lines.map((line) => untimed(JSON.parse(line))),
  };
}

/** Metrics as text, without what a clock decides. */
export function untimed(metrics) {
  return JSON.stringify(
    Object.fromEntries(Object.entries(metrics).filter(([name]) => !timed.test(name))),
  );
}

/** Where two runs part; null where no bit differs. */
export function firstDifference(expected, found) {
  const line = expected.metrics.findIndex((text, i) => text !== found.metrics[i]);
  if (line !== -1 || expected.metrics.length !== found.metrics.length) {
    return `metrics of line ${line + 1}: ${found.metrics[line]} instead of ${expected.metrics[line]}`;
  }
  const names = new Set([...Object.keys(expected.files), ...Object.keys(found.files)]);
  const file = [...names].find((name) => expected.files[name] !== found.files[name]);
  return file === undefined ? null : `the bytes of ${file}`;
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
