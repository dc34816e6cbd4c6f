import type { Group } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { System } from "../contract/system.js";
import {
  aFlag,
  aFunction,
  anEngine,
  aPath,
  aSignal,
  aText,
  checkArguments,
  optional,
  withFields,
} from "../engine/arguments.js";
import { throwIfAborted } from "../engine/checks.js";
import { aSystem } from "../engine/contractKinds.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { offsetsOf } from "../engine/ragged.js";
import { isCoupled } from "../trainer/lossTerms.js";
import { Measures, rolloutMetrics, stepMetrics } from "../trainer/metrics.js";
import { lossScale } from "../trainer/minibatches.js";
import { trainingGroups } from "../trainer/phase.js";
import { groupedRows, inspectOffline, offlineContext, offlinePhase } from "./offline.js";
import { type Rows, type ScoredRollout, scoreUnit } from "./scoreUnit.js";
import { type Indexed, summaries, units } from "./usableRollouts.js";

/** What is computed of recorded rollouts. */
export interface ScoreOptions {
  /** The system whose advantage, selection and loss are taken. */
  system: System;
  /** Which of the system's phases; default: its only one. */
  phase?: string;
  /** Also d loss / d log-prob of every token. Default false. */
  gradients?: boolean;
  /** Ends the reading and the scoring with ERR_ABORTED; results that have come stay right. */
  signal?: AbortSignal;
  /** Told of every line that is left out because it cannot be used. Without it, one such is an error. */
  onBadLine?: (error: FiresteelError) => void;
  /** Told what a user should know about this system and these rewards. */
  onWarning?: (warning: string) => void;
}

/** What a whole file came to: counts, the loss (the sum of its rollouts' parts) and TRL's metrics. */
export interface ScoreSummary {
  rollouts: number;
  groups: number;
  dropped: number;
  badLines: number;
  loss: number;
  metrics: Metrics;
}

/** Rollouts or groups whose losses are under way at once. */
const WINDOW = 64;
/**
 * Advantages, weights, losses and gradients of rollouts made elsewhere, as one optimiser step over the
 * whole file. The file is read twice: statistics need every reward, losses the counts of all tokens. In
 * memory at once: reward, length and (where it has zeros) mask of every rollout, the tokens of 64 (of
 * 64 groups, where the loss couples the rows of a group).
 *
 * @param path JSON lines, as docs/score.md describes them
 * @returns one result per rollout in the file's order; at last the summary
 * @throws FiresteelError ERR_RANGE for lines that cannot be used, by number; ERR_OPTION for a system
 *   that asks for more than recorded rollouts; ERR_ABORTED
 */
export async function* scoreFile(
  engine: Engine,
  path: string,
  options: ScoreOptions,
): AsyncGenerator<ScoredRollout, ScoreSummary> {
  checkArguments(
    { engine, path, options },
    {
      engine: anEngine,
      path: aPath,
      options: withFields({
        system: aSystem,
        phase: optional(aText),
        gradients: optional(aFlag),
        onBadLine: optional(aFunction),
        onWarning: optional(aFunction),
        signal: optional(aSignal),
      }),
    },
  );
  const { system, onWarning, signal } = options;
  const phase = offlinePhase(system, options.phase);
  const { bad, light } = await summaries(path, phase, options.onBadLine, signal);
  const measures = new Measures();
  const ctx = offlineContext(engine, light, measures);
  const rewarded = await phase.reward.run(light, ctx);
  for (const warning of inspectOffline(phase, light, rewarded)) onWarning?.(warning);
  const whole = groupedRows(rewarded);
  const groups = await trainingGroups(phase, whole, ctx);
  const kept = groups.flatMap((group) => group.trajectories);
  const scale = lossScale({ rows: kept, groupOffsets: boundsOf(groups) });
  const rows: Rows = { rewarded, kept: new Map(kept.map((row) => [row.id, row])) };

  let [seen, loss] = [0, 0];
  const job = async (unit: readonly Indexed[]) =>
    scoreUnit(engine, phase, unit, rows, scale, options.gradients ?? false);
  const coupled = phase.loss.some(isCoupled);
  for await (const window of windows(units(path, phase, coupled, signal), WINDOW)) {
    throwIfAborted(signal, "Scoring");
    for (const scored of await all(window.map(job))) {
      seen += scored.results.length;
      loss += scored.loss;
      for (const [name, part] of scored.measures) measures.add(name, part);
      for (const result of scored.results) {
        throwIfAborted(signal, "Scoring");
        yield result;
      }
    }
  }
  if (seen !== light.length) {
    const message = `Expected the same ${light.length} rollouts in ${path} twice but it has changed`;
    throw new FiresteelError("ERR_RANGE", message);
  }
  return {
    rollouts: light.length,
    groups: whole.length,
    dropped: light.length - kept.length,
    badLines: bad,
    loss,
    metrics: { ...stepMetrics, ...rolloutMetrics(whole), ...measures.values(), loss },
  };
}

/** As Promise.all, but none of the work is left running where some of it fails. */
async function all<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

function boundsOf(groups: readonly Group[]): Int32Array {
  return offsetsOf(groups.map((group) => group.trajectories.length));
}

async function* windows<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let window: T[] = [];
  for await (const item of items) {
    window.push(item);
    if (window.length < size) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}
