import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Metrics, Task } from "../../src/contract/index.js";
import { tasks } from "../../src/tasks/index.js";
import type { TrainOptions } from "../../src/train.js";

/** The arithmetic task with a warm start of a few steps. */
export const shortTask: Task = {
  ...tasks.arithmetic!,
  warmStart: tasks.arithmetic!.warmStart.map((stage) => ({ ...stage, steps: 4, batchSize: 8 })),
  evaluation: tasks.arithmetic!.evaluation.slice(0, 4),
  evaluations: {},
};

/** Settings under which a step takes milliseconds. */
export const small: TrainOptions = {
  task: shortTask,
  device: "cpu",
  seed: 7,
  steps: 4,
  promptsPerStep: 4,
  numGenerations: 4,
  minibatchSize: 8,
  evalSamples: 2,
  evalSteps: 2,
};

/** What a run's last checkpoint holds of weights and moments, to the bit. */
export function weightsOf(out: string, step: number): Record<string, string> {
  const files = ["policy/model.safetensors", "policy.optimizer.safetensors"];
  return Object.fromEntries(
    files.map((file) => {
      const bytes = readFileSync(join(out, `checkpoint-${step}`, file));
      return [file, createHash("sha256").update(bytes).digest("hex")];
    }),
  );
}

/** The lines of metrics.jsonl, without what a clock decides. */
export async function metricsOf(out: string): Promise<Metrics[]> {
  const text = await readFile(join(out, "metrics.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const metrics = JSON.parse(line) as Metrics;
      for (const name of Object.keys(metrics)) {
        if (/(^|\/)(step_time$|tokens_per_second\/|time\/)/.test(name)) delete metrics[name];
      }
      return metrics;
    });
}
