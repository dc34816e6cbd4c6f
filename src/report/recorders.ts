import type { RunCallback } from "../contract/run.js";
import { checkBoolean, checkInteger, invalid } from "../engine/checks.js";
import { writeReport } from "./report.js";
import { RolloutRecord } from "./rollouts/record.js";
import { RunFile } from "./runFile.js";
import { TensorBoardFile } from "./tensorboard/eventFile.js";

/** What a run leaves in its folder besides system.txt, metrics.jsonl, checkpoints and run.json. */
export interface RecorderOptions {
  /**
   * Groups of rollouts per step and phase that rollouts.jsonl gets, token by token; default 2, 0: no file.
   * It never exceeds 16 MiB: on long runs ever fewer steps are recorded. A resumed run needs it again.
   */
  recordRollouts?: number;
  /** Steps between two recorded ones, >= 1; default 1. A resumed run needs it again. */
  recordEvery?: number;
  /** Also TensorBoard event files, in tensorboard/; default false. */
  tensorboard?: boolean;
  /** Also report.html when the run ends, complete or stopped; default false. */
  report?: boolean;
}

/** The names of all options. */
export const recorderNames = Object.keys({
  recordRollouts: true,
  recordEvery: true,
  tensorboard: true,
  report: true,
} satisfies Record<keyof RecorderOptions, true>) as (keyof RecorderOptions)[];

/**
 * Those who write into a run's folder what happens.
 *
 * @param out the folder; null: there is none, and nothing may be asked for
 * @throws FiresteelError ERR_OPTION, ERR_RANGE
 */
export function recorders(out: string | null, options: RecorderOptions): RunCallback[] {
  const { recordRollouts = 2, recordEvery = 1, tensorboard = false, report = false } = options;
  const limit = Number.MAX_SAFE_INTEGER;
  checkInteger("recordRollouts", recordRollouts, 0, limit);
  checkInteger("recordEvery", recordEvery, 1, limit);
  checkBoolean("tensorboard", tensorboard);
  checkBoolean("report", report);
  if (recordRollouts === 0 && options.recordEvery !== undefined) {
    const expected = "nothing (no rollouts are recorded)";
    throw invalid("ERR_OPTION", "recordEvery", expected, recordEvery);
  }
  if (out === null) {
    for (const [name, value] of Object.entries(options)) {
      const nothing = value === undefined || value === false || value === 0;
      if (!nothing) throw invalid("ERR_OPTION", name, "nothing (the run has no out)", value);
    }
    return [];
  }
  return [
    new RunFile(),
    ...(recordRollouts > 0
      ? [new RolloutRecord({ groups: recordRollouts, every: recordEvery })]
      : []),
    ...(tensorboard ? [new TensorBoardFile()] : []),
    ...(report ? [new ReportAtEnd(out)] : []),
  ];
}

/** A run that failed has its own error to tell; `firesteel report` makes its page. */
class ReportAtEnd implements RunCallback {
  readonly #out: string;

  constructor(out: string) {
    this.#out = out;
  }

  async end({ error }: { error: unknown }): Promise<void> {
    if (error === null) await writeReport(this.#out);
  }
}
