import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Engine, scoreFile, systems } from "../../../dist/index.js";
import { accepted } from "../refusal.mjs";
import { scratch } from "../scratch.mjs";
import { headed, notANumber } from "../text.mjs";

const path = join(scratch, "rollouts.jsonl");
const engine = new Engine({ device: "cpu", threads: 1 });

export const dictionary = [
  ...["id", "group", "reward", "rewards", "logProbs", "oldLogProbs", "refLogProbs"],
  ...[
    "samplerLogProbs",
    "entropies",
    "mask",
    "finish",
    "length",
    "null",
    "true",
    "1e-300",
    "1e300",
  ],
  ...Object.keys(systems),
];

/**
 * Rollouts for `score`, from bytes to results: the first line names the system, and with "lenient" behind
 * it lines that cannot be used are left out. Every rollout gets one result, in order, made of numbers that
 * JSON can hold, and no tensor stays.
 */
export async function fuzz(bytes) {
  const { head, body } = headed(bytes);
  const [id, mode] = head.split(" ");
  const system = Object.hasOwn(systems, id) ? systems[id] : systems.grpo;
  const onBadLine = mode === "lenient" ? () => {} : undefined;
  writeFileSync(path, body);
  const before = engine.memory().live;
  const scored = await accepted(() => scoreAll({ system, gradients: true, onBadLine }));
  assert.equal(engine.memory().live, before);
  if (scored === null) return;
  const { results, summary } = scored;
  assert.equal(results.length, summary.rollouts);
  assert.ok(results.every(({ line }, i) => i === 0 || line > results[i - 1].line));
  assert.equal(notANumber(scored), null);
}

async function scoreAll(options) {
  const rollouts = scoreFile(engine, path, options);
  const results = [];
  for (;;) {
    const { done, value } = await rollouts.next();
    if (done) return { results, summary: value };
    results.push(value);
  }
}
