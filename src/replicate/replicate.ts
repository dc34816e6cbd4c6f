import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  anObject,
  aText,
  checkArguments,
  either,
  listOf,
  withFields,
} from "../engine/arguments.js";
import { checkKeys, invalid } from "../engine/checks.js";
import { Engine, type EngineOptions } from "../engine/engine.js";
import { mean } from "../statistics/mean.js";
import { ensureFolder } from "../trainer/runFolder.js";
import { armRun } from "./arms.js";
import type { ArmRun, Claim, Measure } from "./claim.js";
import { claims } from "./claims/index.js";
import { type Comparison, judgeAll, type Shown } from "./compare.js";
import { judge, namedClaim, type Plan, planOf } from "./plan.js";

/** How claims are put to the test. */
export interface ReplicateOptions {
  /** Runs of every arm, seeds 1 to this; >= 1, default 3. One seed shows nothing: there is no interval. */
  seeds?: number;
  /** As in `EngineOptions`. */
  device?: EngineOptions["device"];
  /** As in `EngineOptions`. */
  threads?: number;
  /**
   * Keeps warm starts and finished runs, and takes up those that lie there already; default: a temporary
   * folder, removed at the end.
   */
  out?: string;
  /** Stops at once: the run at hand is lost, finished ones stay in `out`. */
  signal?: AbortSignal;
  /** Told of every step and of every 20 steps of a warm start. */
  onProgress?: (progress: ReplicationProgress) => void;
  /** Told of each claim when it is judged. */
  onResult?: (result: Replication) => void;
}

/** How far a claim's runs are. */
export interface ReplicationProgress {
  readonly claim: string;
  readonly arm: string;
  readonly seed: number;
  /** Runs of this claim that are done, and all of them. */
  readonly done: number;
  readonly runs: number;
  readonly stage: "warm start" | "training";
  readonly step: number;
  readonly steps: number;
}

/** A claim with what came of it: what `firesteel replicate --json` prints. */
export interface Replication {
  readonly id: string;
  readonly claim: string;
  readonly baseline: string;
  readonly measure: string;
  /** Of the first comparison, by seed; `interval` is that of the improvement, at 95%. */
  readonly system: readonly (number | null)[];
  readonly baselineValues: readonly (number | null)[];
  readonly interval: readonly [low: number, high: number] | null;
  readonly shown: Shown;
  readonly seconds: number;
  readonly reported: {
    readonly comparisons: readonly Comparison[];
    /** By arm and measure: one value a seed. */
    readonly arms: Readonly<Record<string, Readonly<Record<string, readonly (number | null)[]>>>>;
    /** By arm: the steps at which held-out metrics were taken, and each one's mean over the seeds. */
    readonly curves: Readonly<Record<string, Readonly<Record<string, readonly (number | null)[]>>>>;
  };
}

const optionNames = ["seeds", "device", "threads", "out", "signal", "onProgress", "onResult"];

/**
 * Puts claims to the test: every arm from the same warm start, with the same seeds and settings, and the
 * judgement that the claim settled beforehand. What `firesteel replicate` calls.
 *
 * @param which ids or claims of your own; default: all that come along
 * @throws FiresteelError ERR_OPTION before the first run; ERR_ABORTED after the signal; and as `train`
 * @example
 * const [{ shown, interval }] = await replicate(["dapo"], { seeds: 5 });
 */
export async function replicate(
  which: readonly (string | Claim)[] = Object.keys(claims),
  options: ReplicateOptions = {},
): Promise<Replication[]> {
  checkArguments(
    { which, options },
    { which: listOf(either(withFields({}), aText)), options: anObject },
  );
  checkKeys("replicate", options, optionNames);
  const { seeds = 3, device, threads, out, onResult } = options;
  if (!Number.isInteger(seeds) || seeds < 1) {
    throw invalid("ERR_OPTION", "seeds", "an integer >= 1", seeds);
  }
  const chosen = [...new Set(which)].map((one) =>
    typeof one === "string" ? namedClaim(one) : one,
  );
  const plans = chosen.map(planOf);
  const engine = new Engine({ device, threads });
  try {
    const folder = out ?? (await mkdtemp(join(tmpdir(), "firesteel-replicate-")));
    await ensureFolder(folder);
    try {
      const done: Replication[] = [];
      for (const plan of plans) {
        const result = await replicateClaim(plan, engine, folder, seeds, options);
        onResult?.(result);
        done.push(result);
      }
      return done;
    } finally {
      if (out === undefined) await rm(folder, { recursive: true, force: true });
    }
  } finally {
    engine.dispose();
  }
}

async function replicateClaim(
  { claim, task, arms }: Plan,
  engine: Engine,
  folder: string,
  seeds: number,
  { signal, onProgress }: ReplicateOptions,
): Promise<Replication> {
  const begun = performance.now();
  const runs = new Map<string, ArmRun[]>(arms.map(({ name }) => [name, []]));
  let done = 0;
  for (let seed = 1; seed <= seeds; ++seed) {
    for (const { name, system, settings } of arms) {
      const tell = (stage: ReplicationProgress["stage"], at: { step: number; steps: number }) => {
        const { step, steps } = at;
        const all = arms.length * seeds;
        onProgress?.({ claim: claim.id, arm: name, seed, done, runs: all, stage, step, steps });
      };
      const run = await armRun({
        ...{ engine, task, system, settings, seed, folder, signal },
        onStep: (report) => tell("training", report),
        onWarmStart: (report) => tell("warm start", report),
      });
      runs.get(name)!.push(run);
      done += 1;
    }
  }
  return judged(claim, runs, (performance.now() - begun) / 1000);
}

function judged(
  claim: Claim,
  runs: ReadonlyMap<string, readonly ArmRun[]>,
  seconds: number,
): Replication {
  const { results, comparisons, first } = judge(claim, runs);
  const measures: readonly Measure[] = [claim.measure, ...(claim.reported ?? [])];
  const byArm = <T>(of: (name: string, own: readonly ArmRun[]) => T) =>
    Object.fromEntries([...runs].map(([name, own]) => [name, of(name, own)]));
  return {
    id: claim.id,
    claim: claim.claim,
    baseline: claim.baseline,
    measure: `${claim.measure.name} (${claim.measure.better} is better)`,
    system: first.values,
    baselineValues: first.baselineValues,
    interval: first.interval,
    shown: judgeAll(comparisons),
    seconds,
    reported: {
      comparisons,
      arms: byArm((name) =>
        Object.fromEntries(measures.map((m) => [m.name, results.values(name, m)])),
      ),
      curves: byArm((_, own) => curves(own)),
    },
  };
}

/** Means over runs of what the evaluation before the first step measures, wherever it was measured. */
function curves(runs: readonly ArmRun[]): Record<string, (number | null)[]> {
  const [first] = runs;
  const names = Object.keys(first?.steps[0]?.metrics ?? {});
  const at = (run: ArmRun, step: number) => run.steps.find((report) => report.step === step);
  const steps = (first?.steps ?? [])
    .filter(({ metrics }) => names.some((name) => (metrics[name] ?? null) !== null))
    .map(({ step }) => step);
  const metrics = names.map((name) => [
    name,
    steps.map((step) => mean(runs.map((run) => at(run, step)?.metrics[name] ?? null))),
  ]);
  return { step: steps, ...Object.fromEntries(metrics) };
}
