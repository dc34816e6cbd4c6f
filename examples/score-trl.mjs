// Scores rollouts that a TRL run has logged: TRL's advantages beside those of two systems, and the losses.
// Run: node score-trl.mjs [FILE.jsonl]
import { createReadStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { defineSystem, Engine, namedSystem, scoreFile } from "firesteel";
import { groupNormalize, surrogate } from "firesteel/blocks";

const file = process.argv[2] ?? fileURLToPath(new URL("trl-completions.jsonl", import.meta.url));

/**
 * A line as a rollout of docs/score.md. The line has what `log_completions` writes (step, prompt, completion, a column
 * per reward function, advantage) and GRPOTrainer's padded tensors under their names. The rollouts of one prompt in one
 * step are a group.
 */
function rollout(line) {
  const { step, prompt, completion, advantage, completion_mask: mask, ...rest } = line;
  const { per_token_logps, old_per_token_logps, ref_per_token_logps, ...rewards } = rest;
  if (!mask) throw new Error(`Expected the column completion_mask in ${file}`);
  const length = mask.lastIndexOf(1) + 1;
  const cut = (values) => values?.slice(0, length);
  return {
    group: JSON.stringify([step, prompt]),
    rewards,
    mask: cut(mask),
    logProbs: cut(per_token_logps),
    oldLogProbs: cut(old_per_token_logps ?? per_token_logps),
    refLogProbs: cut(ref_per_token_logps),
  };
}

/** Dr. GRPO for completions of at most six tokens: without the division by the group's standard deviation. */
const noScale = defineSystem({
  id: "no-scale",
  title: "Dr. GRPO on these rollouts",
  arxiv: "2503.20783",
  evidence: "low",
  advantage: groupNormalize({ scale: "none" }),
  loss: [surrogate({ epsilon: 0.2, aggregation: "seq-mean-token-sum-norm", horizon: 6 })],
});

/** The advantage of every rollout, and the loss of the whole file: scoreFile yields the one and returns the other. */
async function score(engine, path, system) {
  const results = scoreFile(engine, path, { system });
  const advantages = [];
  for (;;) {
    const { value, done } = await results.next();
    if (done) return { advantages, loss: value.loss };
    advantages.push(value.advantage);
  }
}

const lines = [];
for await (const text of createInterface({ input: createReadStream(file) })) {
  if (text.trim() !== "") lines.push(JSON.parse(text));
}
const folder = await mkdtemp(join(tmpdir(), "score-trl-"));
const engine = new Engine({ device: "cpu" });
try {
  const path = join(folder, "rollouts.jsonl");
  await writeFile(path, lines.map((line) => `${JSON.stringify(rollout(line))}\n`).join(""));
  const grpo = await score(engine, path, namedSystem("grpo"));
  const other = await score(engine, path, noScale);

  const columns = [["prompt and completion", "TRL", "grpo", "no-scale"]];
  for (const [i, { prompt, completion, advantage }] of lines.entries()) {
    const numbers = [advantage, grpo.advantages[i], other.advantages[i]];
    columns.push([`${prompt} ${completion}`, ...numbers.map((value) => value.toFixed(3))]);
  }
  columns.push(["loss", "", grpo.loss.toFixed(5), other.loss.toFixed(5)]);
  const width = Math.max(...columns.map(([text]) => text.length));
  for (const [text, ...numbers] of columns) {
    console.log([text.padEnd(width), ...numbers.map((cell) => cell.padStart(8))].join(" "));
  }
} finally {
  engine.dispose();
  await rm(folder, { recursive: true });
}
