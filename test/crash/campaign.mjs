import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { differences, outcomeOf, stepsOf } from "./outcome.mjs";
import { recorders, settings } from "./settings.mjs";
import { tinyTask } from "./tinyTask.mjs";

/** Runs of one system within this process, and what they must come to. */
export class Campaign {
  /** @param api `train`, `readCheckpoint`, `tasks` and `FiresteelError` of the product */
  constructor(api, system, options = {}) {
    this.api = api;
    this.folder = mkdtempSync(join(tmpdir(), "firesteel-crash-"));
    this.options = {
      ...settings,
      ...recorders,
      ...{ system, seed: 1, task: tinyTask(api.tasks.arithmetic), warmStart: false, report: false },
      ...options,
      onWarning: () => {},
    };
    this.failures = [];
    this.resumed = 0;
  }

  begin(out, more = {}) {
    return this.api.train({ ...this.options, ...more, out });
  }

  resume(out, more = {}) {
    const { task, recordRollouts, tensorboard, report, onWarning } = this.options;
    return this.api.train({
      ...{ task, recordRollouts, tensorboard, report, onWarning },
      ...more,
      resume: out,
    });
  }

  /** What an undisturbed run leaves. */
  async straight() {
    const out = join(this.folder, "straight");
    await this.begin(out);
    this.expected = outcomeOf(out);
    rmSync(out, { recursive: true });
  }

  fail(where, what) {
    this.failures.push(`${where}: ${what}`);
  }

  /**
   * The folder of a run that was cut off: what checkpoint it has, and whether its history is there.
   *
   * @param told the last step whose checkpoint was announced; -1: none
   * @returns whether there is a checkpoint
   */
  async check(where, out, told) {
    try {
      const { body } = await this.api.readCheckpoint(out);
      const { step, begun } = body.progress;
      if (step < told)
        this.fail(where, `step ${told} had a checkpoint, and step ${step} is the newest`);
      const lines = stepsOf(out);
      for (let i = 0; begun && i <= step; ++i) {
        if (lines[i] !== i)
          this.fail(where, `metrics.jsonl has no line of step ${i}, checkpoint-${step} stands`);
      }
      return true;
    } catch (error) {
      const none = told < 0 && /there is none|begin it again|ENOENT/.test(error.message);
      if (!none) this.fail(where, `no checkpoint can be read: ${error.message}`);
      return false;
    }
  }

  /** Goes on with a run, or begins it again where it has no checkpoint, to its end. */
  async finish(where, out, any) {
    try {
      if (any) await this.resume(out);
      else await this.begin(out);
      this.resumed += 1;
      const found = differences(outcomeOf(out), this.expected);
      for (const difference of found) this.fail(where, difference);
    } catch (error) {
      this.fail(where, `it does not go on: ${error.message}`);
    }
  }

  /** A fresh folder; of a copy of another one where given. */
  fresh(name, from = null) {
    const out = join(this.folder, name);
    rmSync(out, { recursive: true, force: true });
    if (from !== null && existsSync(from))
      cpSync(from, out, { recursive: true, verbatimSymlinks: true });
    return out;
  }

  end() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
