import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { RunCallback, RunFrame, StepReport } from "../contract/run.js";
import { access } from "../files/access.js";
import { replaceFile } from "../files/replaceFile.js";
import { parsed } from "./jsonl.js";

/** In a run's folder. */
export const runFile = "run.json";

/** What ran, where and when: run.json. */
export interface RunDescription {
  system: { id: string; title: string; arxiv: string | null; phases: readonly string[] };
  task: { id: string; title: string };
  device: string;
  settings: Readonly<Record<string, unknown>>;
  sittings: readonly Sitting[];
}

/** From begin to end, or to the last checkpoint where there was no end. */
export interface Sitting {
  /** ISO 8601. */
  begun: string;
  seconds: number;
  /** Steps done at its beginning (-1: the run was new) and when it ended. */
  from: number;
  to: number;
  /** What ended it, where it was an error. */
  error: string | null;
}

/** Keeps OUT/run.json. */
export class RunFile implements RunCallback {
  #path = "";
  #description: RunDescription | null = null;
  #sitting: Sitting = { begun: "", seconds: 0, from: -1, to: -1, error: null };
  #begun = 0;

  async begin(frame: RunFrame): Promise<void> {
    if (frame.out === null) return;
    const { system, task, device, settings, resumed, resumedAt } = frame;
    this.#path = join(frame.out, runFile);
    const { out } = frame;
    const before = existsSync(this.#path)
      ? await access("a readable file", this.#path, () => readRunFile(out))
      : null;
    // A run that begins anew has no earlier sittings, whatever lay in the folder.
    const earlier = resumed ? (before?.sittings ?? []) : [];
    this.#begun = performance.now();
    this.#sitting = {
      ...{ begun: new Date().toISOString(), seconds: 0 },
      ...{ from: resumedAt, to: resumedAt, error: null },
    };
    this.#description = {
      system: {
        ...{ id: system.id, title: system.title, arxiv: system.arxiv },
        phases: system.phases.map(({ name }) => name),
      },
      task: { id: task.id, title: task.title },
      ...{ device, settings, sittings: earlier },
    };
    await this.#write();
  }

  step({ step }: StepReport): void {
    this.#sitting.to = step;
  }

  async checkpoint(): Promise<void> {
    await this.#write();
  }

  async end({ error }: { error: unknown }): Promise<void> {
    if (error !== null) this.#sitting.error = error instanceof Error ? error.message : `${error}`;
    await this.#write();
  }

  async #write(): Promise<void> {
    if (this.#description === null) return;
    this.#sitting.seconds = (performance.now() - this.#begun) / 1000;
    const { sittings, ...rest } = this.#description;
    const description = { ...rest, sittings: [...sittings, this.#sitting] };
    await replaceFile(this.#path, `${JSON.stringify(description, null, 2)}\n`);
  }
}

const schema: z.ZodType<RunDescription> = z.object({
  system: z.object({
    id: z.string(),
    title: z.string(),
    arxiv: z.string().nullable(),
    phases: z.array(z.string()),
  }),
  task: z.object({ id: z.string(), title: z.string() }),
  device: z.string(),
  settings: z.record(z.string(), z.unknown()),
  sittings: z.array(
    z.object({
      begun: z.string(),
      seconds: z.number(),
      from: z.number(),
      to: z.number(),
      error: z.string().nullable(),
    }),
  ),
});

/** null: it is none. */
export async function readRunFile(out: string): Promise<RunDescription | null> {
  const text = await readFile(join(out, runFile), "utf8");
  return schema.safeParse(parsed(text)).data ?? null;
}
