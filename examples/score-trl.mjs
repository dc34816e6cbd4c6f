// Scores rollouts that a TRL run logged: advantages and losses of two systems, side by side.
// Run: node score-trl.mjs [FILE.jsonl]
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Engine, scoreFile, systems } from "firesteel";

const file = process.argv[2] ?? fileURLToPath(new URL("trl-completions.jsonl", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "score-trl-"));
const engine = new Engine({ device: "cpu" });

/**
 * TRL's fields under this library's names. Rollouts of one prompt in one step are a group; rewards are one number
 * per reward function, null where it does not apply; -1 stands for padding.
 */
function rollout(line) {
  const { step, prompt, completion, logps, old_logps, ref_logps, completion_mask, ...rest } =
    JSON.parse(line);
  const mask = completion_mask ?? logps.map(() => 1);
  const cut = (values) => values?.slice(0, mask.lastIndexOf(1) + 1);
  return {
    ...{ group: JSON.stringify([step, prompt]), prompt, completion, rewards: rest.rewards },
    ...{ logProbs: cut(logps), oldLogProbs: cut(old_logps ?? logps), refLogProbs: cut(ref_logps) },
    ...{ mask: cut(mask), finish: rest.is_truncated ? "length" : "stop" },
  };
}

async function scored(path, system) {
  const rows = [];
  const results = scoreFile(engine, path, { system });
  for (;;) {
    const { value, done } = await results.next();
    if (done) return { rows, loss: value.loss };
    rows.push(value);
  }
}

try {
  const path = join(folder, "rollouts.jsonl");
  const out = await open(path, "w");
  const texts = [];
  for await (const line of createInterface({ input: createReadStream(file) })) {
    if (line.trim() === "") continue;
    const { prompt, completion, ...given } = rollout(line);
    texts.push(`${prompt} ${completion}`);
    await out.write(`${JSON.stringify(given)}\n`);
  }
  await out.close();

  const grpo = await scored(path, systems.grpo);
  const drGrpo = await scored(path, systems["dr-grpo"]);
  const width = Math.max(...texts.map((text) => text.length));
  console.log(`${"prompt and completion".padEnd(width)}  reward  grpo advantage  dr-grpo advantage`);
  for (const [i, { reward, advantage }] of grpo.rows.entries()) {
    const numbers = [
      reward.toFixed(2).padStart(6),
      advantage.toFixed(3).padStart(14),
      drGrpo.rows[i].advantage.toFixed(3).padStart(17),
    ];
    console.log([texts[i].padEnd(width), ...numbers].join("  "));
  }
  console.log(`loss: grpo ${grpo.loss.toFixed(5)}, dr-grpo ${drGrpo.loss.toFixed(5)}`);
} finally {
  engine.dispose();
  await rm(folder, { recursive: true });
}
