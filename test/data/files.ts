import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, small, weightsOf } from "../trainer/runs.js";

/** Sums of two digits: question, answer. */
export const sums = Array.from({ length: 40 }, (_, i) => {
  const [a, b] = [i % 8, Math.floor(i / 8)];
  return { question: `${a}+${b}=`, answer: String(a + b), level: a };
});

export const columns = { prompt: "question", label: "answer" };

const { task: _, ...withoutTask } = small;
/** Settings under which a step takes milliseconds. */
export const short = { ...withoutTask, maxCompletionLength: 4, promptsPerStep: 8 };

/** A file in a folder of its own. */
export async function fileOf(name: string, text: string | Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, text);
  return path;
}

export function jsonl(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}

/** A run that is killed at its third step goes on to the same bits as one that is not. */
export async function resumesExactly(options: TrainOptions): Promise<void> {
  const folder = await temporaryFolder();
  const [whole, killed] = [join(folder, "whole"), join(folder, "killed")];
  await train({ ...short, ...options, out: whole });
  const onStep = ({ step }: { step: number }) => {
    if (step === 3) throw new Error("killed");
  };
  await expect(train({ ...short, ...options, out: killed, onStep })).rejects.toThrow("killed");
  const { task } = options;
  await train({ resume: killed, ...(typeof task === "object" ? { task } : {}) });
  expect(weightsOf(killed, 4)).toEqual(weightsOf(whole, 4));
  expect(await metricsOf(killed)).toEqual(await metricsOf(whole));
}
