import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { datasetTask } from "../../../dist/index.js";
import { extractionNames } from "../../../dist/verifiers/extract.js";
import { accepted } from "../refusal.mjs";
import { scratch } from "../scratch.mjs";
import { headed } from "../text.mjs";

const path = join(scratch, "questions");

export const dictionary = [
  ...[
    "prompt",
    "label",
    "id",
    "role",
    "user",
    "content",

    "exact",
    "numeric",
    "math",
    "choice",
  ],
  ...extractionNames,
];

/**
 * Questions as JSON lines. The first line says which verifier judges and where in the label the
 * answer stands. Every question has an id of its own and a label, and every right answer is one.
 */
export async function fuzz(bytes) {
  const { head, body } = headed(bytes);
  const [verifier = "exact", labelAnswer = "text"] = head.split(" ").filter((word) => word !== "");
  // Parquet is hyparquet's to read: a page header can make it work for minutes (docs/reliability.md).
  if (body.subarray(0, 4).toString("latin1") === "PAR1") return;
  writeFileSync(path, body);
  const task = await accepted(() => datasetTask({ path, verifier, labelAnswer }));
  if (task === null) return;
  const questions = [...task.train, ...task.evaluation];
  assert.equal(new Set(questions.map(({ id }) => id)).size, questions.length);
  const answers = questions.map(({ label }) => (typeof label === "object" ? "" : String(label)));
  const rewards = await accepted(() => judged(task, questions, answers));
  assert.ok(rewards === null || rewards.every((value) => value === null || value >= 0));
}

function judged(task, questions, completions) {
  const trajectories = questions.map((prompt) => ({ prompt }));
  const columns = { label: questions.map(({ label }) => label) };
  const signal = new AbortController().signal;
  return task.rewards.correct({ prompts: questions, completions, trajectories, columns, signal });
}
