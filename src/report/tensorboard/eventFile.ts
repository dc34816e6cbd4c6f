import { appendFile, readdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { RunCallback, RunFrame, StepReport } from "../../contract/run.js";
import { access } from "../../files/access.js";
import { makeFolder } from "../../files/makeFolder.js";
import { sync } from "../../files/synced.js";
import { type EventContent, encodeEvent } from "./event.js";
import { recordFrame } from "./recordFrame.js";

/** In a run's folder. */
const tensorboardFolder = "tensorboard";

/**
 * Writes OUT/tensorboard/events.out.tfevents.*: the printed system as text, every metric as a scalar of
 * its own name. A resumed run begins another file, which voids the steps that it does again.
 */
export class TensorBoardFile implements RunCallback {
  #path: string | null = null;

  async begin({ out, printed, resumedAt }: RunFrame): Promise<void> {
    if (out === null) return;
    const folder = join(out, tensorboardFolder);
    this.#path = await access("a writable file", folder, async () => {
      await makeFolder(resolve(folder));
      return join(folder, nextName(await readdir(folder)));
    });
    const again = resumedAt + 1;
    await this.#write(0, { fileVersion: "brain.Event:2" });
    await this.#write(again, { restart: true });
    // Indented lines are shown as they are.
    const text = printed.replaceAll(/^/gm, "    ");
    await this.#write(again, { tag: "system", text });
  }

  async step({ step, metrics }: StepReport): Promise<void> {
    const present = Object.entries(metrics).filter(([, value]) => value !== null);
    await this.#write(step, { scalars: Object.fromEntries(present) as Record<string, number> });
  }

  async saving(): Promise<void> {
    const path = this.#path;
    if (path === null) return;
    await access("a writable file", path, async () => {
      await sync(path);
      await sync(dirname(path));
    });
  }

  async #write(step: number, content: EventContent): Promise<void> {
    const path = this.#path;
    if (path === null) return;
    const frame = recordFrame(encodeEvent(Date.now() / 1000, step, content));
    await access("a writable file", path, () => appendFile(path, frame));
  }
}

/** TensorBoard reads a folder's files in the order of their names, which begin with the second. */
function nextName(entries: readonly string[]): string {
  const seconds = entries.map((name) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1]));
  const last = Math.max(0, ...seconds.filter((second) => !Number.isNaN(second)));
  const second = Math.max(Math.floor(Date.now() / 1000), last + 1);
  return `events.out.tfevents.${String(second).padStart(10, "0")}.firesteel`;
}
