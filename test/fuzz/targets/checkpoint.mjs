import { createHash } from "node:crypto";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Engine, tasks, train } from "../../../dist/index.js";
import { accepted } from "../refusal.mjs";
import { scratch } from "../scratch.mjs";

const engine = new Engine({ device: "cpu", threads: 1 });
const stopped = AbortSignal.abort();
const quiet = { onWarning() {}, recordRollouts: 0 };
const arithmetic = {
  ...tasks.arithmetic,
  train: tasks.arithmetic.train.slice(0, 8),
  evaluation: tasks.arithmetic.evaluation.slice(0, 2),
  evaluations: {},
};
const settings = {
  promptsPerStep: 2,
  numGenerations: 2,
  minibatchSize: 4,
  evalSamples: 1,
  steps: 1,
};

/** A run of one step, whose state.json the inputs are variations of. */
const whole = join(scratch, "whole");
await train({
  ...{ engine, system: "grpo", task: arithmetic, out: whole, warmStart: false, seed: 7 },
  ...settings,
  ...quiet,
});
const state = JSON.parse(readFileSync(join(whole, "checkpoint-1", "state.json"), "utf8"));
const run = join(scratch, "run");
const branch = join(scratch, "branch");
cpSync(whole, run, { recursive: true });

export const maxLength = 8192;
export const dictionary = [
  ...[
    "body",
    "files",
    "format",
    "sha256",
    "bytes",
    "progress",
    "settings",
    "state",
    "system",
    "task",
  ],
  ...[
    "$number",
    "$array",
    "data",
    "float32",
    "Infinity",
    "policy",
    "models",
    "best",
    "plateau",
    "../",
  ],
];

/**
 * state.json of a checkpoint, with a checksum that is right: of an input that is an object, the fields
 * stand in the place of the run's own. The run goes on from it and stops at once, or says what is wrong.
 */
export async function fuzz(bytes) {
  writeFileSync(join(run, "checkpoint-1", "state.json"), stateOf(bytes));
  rmSync(branch, { recursive: true, force: true });
  await accepted(() =>
    train({ ...{ engine, resume: run, task: arithmetic, out: branch, abort: stopped }, ...quiet }),
  );
}

function stateOf(bytes) {
  let given;
  try {
    given = JSON.parse(bytes.toString("utf8"));
  } catch {
    return bytes;
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) return bytes;
  const { sha256: _, ...kept } = state;
  const { body, ...fields } = given;
  const object = typeof body === "object" && body !== null && !Array.isArray(body);
  const next = {
    ...kept,
    ...fields,
    body: object ? { ...kept.body, ...body } : (body ?? kept.body),
  };
  const sha256 = createHash("sha256").update(JSON.stringify(next)).digest("hex");
  return `${JSON.stringify({ ...next, sha256 })}\n`;
}
