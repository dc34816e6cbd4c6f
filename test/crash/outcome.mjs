import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { scalarsOf } from "./eventFiles.mjs";

/** What a clock decides. */
const clocks = /^(step_time|seconds)$|(^|\/)(step_time$|tokens_per_second\/|time\/)/;

/**
 * All that a run has left, by name, as text that is the same for the same run: weights, moments and state of
 * every checkpoint to the bit, every line of metrics and rollouts, the scalars that TensorBoard shows.
 */
export function outcomeOf(out) {
  const outcome = {};
  const entries = readdirSync(out).sort();
  for (const entry of entries) {
    const path = join(out, entry);
    if (/^(warm-start|checkpoint)-/.test(entry)) Object.assign(outcome, checkpointOf(out, entry));
    else if (entry === "best") outcome.best = readlinkSync(path);
    else if (entry === "system.txt") outcome[entry] = readFileSync(path, "utf8");
    else if (entry === "metrics.jsonl") outcome[entry] = linesOf(path).join("\n");
    else if (entry === "rollouts.jsonl") outcome[entry] = readFileSync(path, "utf8");
    else if (entry === "tensorboard") outcome[entry] = timeless(scalarsOf(path));
    else if (entry === "run.json") outcome[entry] = runOf(path);
    else if (entry === "report.html") outcome[entry] = `${/<\/html>\s*$/.test(text(path))}`;
    else if (entry !== ".lock") outcome[entry] = "left behind";
  }
  return outcome;
}

/** In what one differs from another; empty: in nothing. */
export function differences(found, expected) {
  const names = new Set([...Object.keys(found), ...Object.keys(expected)]);
  return [...names].flatMap((name) => {
    if (found[name] === expected[name]) return [];
    if (found[name] === undefined) return [`${name} is missing`];
    if (expected[name] === undefined) return [`${name} is too many (${found[name]})`];
    return [`${name} is another: ${firstDifference(found[name], expected[name])}`];
  });
}

/** The steps in metrics.jsonl, one by one; what a kill left of a line is left out. */
export function stepsOf(out) {
  const path = join(out, "metrics.jsonl");
  const lines = existsSync(path) ? text(path).split("\n").slice(0, -1) : [];
  return lines.map((line) => JSON.parse(line).step);
}

const text = (path) => readFileSync(path, "utf8");
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
const timeless = (value) =>
  JSON.stringify(value, (key, item) => (clocks.test(key) ? undefined : item));

function checkpointOf(out, name) {
  const folder = join(out, name);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  const found = {};
  for (const file of files.filter((file) => file.isFile())) {
    const path = join(file.parentPath, file.name);
    const state = path === join(folder, "state.json");
    found[path.slice(out.length + 1)] = state ? stateOf(path) : hash(readFileSync(path));
  }
  return found;
}

/** Without how the task was given: by name to a process, as an object within one. */
function stateOf(path) {
  const { body, format } = JSON.parse(text(path));
  return timeless({ format, ...body, source: null });
}

function linesOf(path) {
  const lines = text(path).split("\n");
  if (lines.pop() !== "") throw new SyntaxError(`${path} ends within a line`);
  return lines.map((line) => timeless(JSON.parse(line)));
}

function runOf(path) {
  const { sittings, ...run } = JSON.parse(text(path));
  const { to, error } = sittings.at(-1);
  return JSON.stringify({ ...run, to, error });
}

function firstDifference(a, b) {
  let at = 0;
  while (a[at] === b[at]) ++at;
  const around = (value) => value.slice(Math.max(0, at - 40), at + 40);
  return `${JSON.stringify(around(a))} instead of ${JSON.stringify(around(b))}`;
}
