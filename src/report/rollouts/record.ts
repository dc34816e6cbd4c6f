import { existsSync } from "node:fs";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { PhaseReport, RunCallback, RunFrame, StepReport } from "../../contract/run.js";
import { invalid } from "../../engine/checks.js";
import { access } from "../../files/access.js";
import { replaceFile } from "../../files/replaceFile.js";
import { sync } from "../../files/synced.js";
import { parsed } from "../jsonl.js";
import { chooseGroups } from "./chooseGroups.js";
import { type RecordedRollout, recordedRollout } from "./rollout.js";

/** In a run's folder. */
export const rolloutsFile = "rollouts.jsonl";

/** Of rollouts.jsonl, however long the run. */
const maxRecordBytes = 16 * 2 ** 20;

export interface RecordOptions {
  /** Groups per phase, >= 1. */
  groups: number;
  /** Steps between two recorded ones, >= 1. */
  every: number;
  /** Default `maxRecordBytes`. */
  maxBytes?: number;
}

/**
 * Writes OUT/rollouts.jsonl. When the file would grow beyond `maxBytes`, every second recorded step is
 * dropped and from then on half as many are recorded, so that the record covers the run evenly. A
 * resumed run's record is that of one that never stopped.
 */
export class RolloutRecord implements RunCallback {
  readonly #groups: number;
  readonly #maxBytes: number;
  #every: number;
  #path = "";
  #frame: RunFrame | null = null;
  /** Of the step that is under way. */
  #pending: RecordedRollout[] = [];
  #bytes = 0;

  constructor({ groups, every, maxBytes = maxRecordBytes }: RecordOptions) {
    this.#groups = groups;
    this.#every = every;
    this.#maxBytes = maxBytes;
  }

  async begin(frame: RunFrame): Promise<void> {
    if (frame.out === null) return;
    this.#frame = frame;
    this.#path = join(frame.out, rolloutsFile);
    const resumed = frame.resumedAt >= 0 && existsSync(this.#path);
    const lines = resumed ? await readRollouts(this.#path) : [];
    // Also where none of its lines are kept, the record goes on as thin as it was.
    if (lines.length > 0) this.#every = continued(lines[0]!.every, this.#every);
    await this.#replace(lines.filter(({ step }) => step <= frame.resumedAt));
  }

  phase(report: PhaseReport): void {
    const { step, phase, trained } = report;
    if (this.#frame === null || step % this.#every !== 0) return;
    const { task, tokenizer } = this.#frame;
    const rows = new Map(trained.flatMap(({ trajectories }) => trajectories.map((t) => [t.id, t])));
    for (const group of chooseGroups(report, this.#groups)) {
      const place = { every: this.#every, step, phase, group: group.key };
      for (const whole of group.trajectories) {
        // Rows that are cut out of rollouts have other actions: their columns say nothing of these.
        const row = rows.get(whole.id);
        const fits = row?.actions.length === whole.actions.length;
        const line = recordedRollout(place, whole, fits ? row : null, task.accuracy, tokenizer);
        this.#pending.push(line);
      }
    }
  }

  async step({ step }: StepReport): Promise<void> {
    const lines = this.#pending.splice(0);
    let text = "";
    for (const line of lines) {
      const next = textOf(line);
      // One step must leave room for others.
      if (Buffer.byteLength(text) + Buffer.byteLength(next) > this.#maxBytes / 4) break;
      text += next;
    }
    const bytes = Buffer.byteLength(text);
    if (bytes === 0) return;
    while (this.#bytes + bytes > this.#maxBytes) await this.#thin();
    if (step % this.#every !== 0) return;
    if (lines[0]!.every !== this.#every) {
      text = text.replaceAll(/^\{"every":\d+/gm, `{"every":${this.#every}`);
    }
    await access("a writable file", this.#path, () => appendFile(this.#path, text));
    this.#bytes += Buffer.byteLength(text);
  }

  async saving(): Promise<void> {
    if (this.#frame !== null) await access("a writable file", this.#path, () => sync(this.#path));
  }

  async #thin(): Promise<void> {
    this.#every *= 2;
    const lines = await readRollouts(this.#path);
    const kept = lines.filter(({ step }) => step % this.#every === 0);
    await this.#replace(kept.map((line) => ({ ...line, every: this.#every })));
  }

  async #replace(lines: readonly RecordedRollout[]): Promise<void> {
    const text = lines.map(textOf).join("");
    this.#bytes = Buffer.byteLength(text);
    await replaceFile(this.#path, text);
  }
}

const textOf = (line: RecordedRollout) => `${JSON.stringify(line)}\n`;

/** How thin a record is by now: twice, four times ... as thin as what it began with. */
function continued(every: number, asked: number): number {
  if (every >= asked && Number.isInteger(Math.log2(every / asked))) return every;
  const expected = `${every}, or what the run's record began with,`;
  throw invalid("ERR_OPTION", "recordEvery", expected, asked);
}

/** Whole lines; a killed process may have left part of one. */
async function readRollouts(path: string): Promise<RecordedRollout[]> {
  const text = await access("a readable file", path, () => readFile(path, "utf8"));
  const lines = text.split("\n");
  return lines.flatMap((line) => {
    const value = parsed(line);
    return value === null ? [] : [value as RecordedRollout];
  });
}
