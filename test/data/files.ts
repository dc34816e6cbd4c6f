import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "../trainer/runs.js";

/** Sums of two digits: question, answer. */
export const sums = Array.from({ length: 40 }, (_, i) => {
  const [a, b] = [i % 8, Math.floor(i / 8)];
  return { question: `${a}+${b}=`, answer: String(a + b), level: a };
});

/** A file in a folder of its own. */
export async function fileOf(name: string, text: string | Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, text);
  return path;
}

export function jsonl(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
}
