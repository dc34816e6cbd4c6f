// Trains a policy of one's own (window-policy.mjs) by GRPO alone, from random weights, on a data set of one's own.
// Run: node custom-policy.mjs [RUN_FOLDER [STEPS]]   where the folder holds a run already, that run goes on
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CharTokenizer, datasetTask, Engine, train } from "firesteel";
import { WindowPolicy } from "./window-policy.mjs";

const [out, steps = "200"] = process.argv.slice(2);
const path = fileURLToPath(new URL("larger-digit.jsonl", import.meta.url));
const task = await datasetTask({ path, evaluation: { share: 0.2 } });
const engine = new Engine({ device: "cpu" });
const policy = new WindowPolicy(engine, new CharTokenizer(task.alphabet));
const weights = policy.parameters.reduce((sum, { value }) => sum + value.size, 0);
console.log(`which digit is larger: ${task.train.length} questions, ${weights} weights`);
try {
  await train({
    engine,
    policy,
    task,
    system: "grpo",
    seed: 1,
    ...(out !== undefined && existsSync(out) ? { resume: out } : { out }),
    steps: Number(steps),
    promptsPerStep: 32,
    numGenerations: 8,
    minibatchSize: 256,
    maxCompletionLength: 2,
    learningRate: 5e-3,
    saveSteps: 40,
    evalSteps: 40,
    evalSamples: 16,
    onStep({ step, metrics }) {
      const accuracy = metrics["eval/accuracy"];
      if (accuracy !== null)
        console.log(`step ${step}: ${accuracy.toFixed(2)} of unseen ones right`);
    },
  });
} finally {
  policy.dispose();
  engine.dispose();
}
