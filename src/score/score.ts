import type { Column, Group, Trajectory } from "../contract/data.js";
import type { LossBatch, LossScale } from "../contract/loss.js";
import type { Metrics } from "../contract/metrics.js";
import type { Phase, System } from "../contract/system.js";
import { tensorOf } from "../engine/device.js";
import type { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { concatenate, offsetsOf } from "../engine/ragged.js";
import { fileLines } from "../files/fileLines.js";
import { disposeGradient, evaluateTerms, isCoupled } from "../trainer/lossTerms.js";
import { Measures, rolloutMetrics, stepMetrics } from "../trainer/metrics.js";
import { lossScale } from "../trainer/minibatches.js";
import { trainingGroups } from "../trainer/phase.js";
import {
  inspectOffline,
  intoGroups,
  LightTrajectories,
  missingField,
  offlineContext,
  offlinePhase,
} from "./offline.js";
import { parseRollout, type Rollout } from "./rolloutFile.js";

export interface ScoreOptions {
  system: System;
  /** Which of the system's phases; default: its only one. */
  phase?: string;
  /** Also d loss / d log-prob of every token. Default false. */
  gradients?: boolean;
  /** Told of every line that is left out because it cannot be used. Without it, one such is an error. */
  onBadLine?: (error: FiresteelError) => void;
  /** Told what a user should know about this system and these rewards. */
  onWarning?: (warning: string) => void;
}

/** What a system makes of one rollout. Arrays have one value per token. */
export interface ScoredRollout {
  line: number;
  id: string | number | null;
  group: string | number;
  /** The weighted sum of its rewards; null where none applies. */
  reward: number | null;
  /** Whether the system leaves it out of the loss. */
  dropped: boolean;
  /** Null where it has none: dropped, or a loss without advantages. */
  advantage: number | number[] | null;
  /** Of its tokens in the loss; null: 1. */
  weight: number | number[] | null;
  /** Its part of the whole file's loss; null where the loss couples the rows of a group. */
  loss: number | null;
  dLogProb?: number[];
}

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
/** Bad lines that an error names one by one. */
const NAMED_LINES = 20;

/**
 * Advantages, weights, losses and gradients of rollouts made elsewhere, as one optimiser step over the
 * whole file. The file is read twice: statistics need every reward, losses the counts of all tokens. In
 * memory at once: reward, length and (where it has zeros) mask of every rollout, the tokens of 64 (of
 * 64 groups, where the loss couples the rows of a group).
 *
 * @param path JSON lines, as docs/score.md describes them
 * @returns one result per rollout in the file's order; at last the summary
 * @throws FiresteelError ERR_RANGE for lines that cannot be used, by number; ERR_OPTION for a system
 *   that asks for more than recorded rollouts
 */
export async function* scoreFile(
  engine: Engine,
  path: string,
  options: ScoreOptions,
): AsyncGenerator<ScoredRollout, ScoreSummary> {
  const { system, onWarning } = options;
  const phase = offlinePhase(system, options.phase);
  const { bad, light } = await summaries(path, phase, options.onBadLine);
  const measures = new Measures();
  const ctx = offlineContext(engine, light, measures);
  const rewarded = await phase.reward.run(light, ctx);
  for (const warning of inspectOffline(phase, rewarded)) onWarning?.(warning);
  const whole = intoGroups(rewarded);
  const groups = await trainingGroups(phase, whole, ctx);
  const kept = groups.flatMap((group) => group.trajectories);
  const scale = lossScale({ rows: kept, groupOffsets: boundsOf(groups) });
  const rows: Rows = { rewarded, kept: new Map(kept.map((row) => [row.id, row])) };

  let [seen, loss] = [0, 0];
  const job = async (unit: readonly Indexed[]) =>
    scoreUnit(engine, phase, unit, rows, scale, options.gradients ?? false);
  const coupled = phase.loss.some(isCoupled);
  for await (const window of windows(units(path, phase, coupled), WINDOW)) {
    for (const scored of await Promise.all(window.map(job))) {
      seen += scored.results.length;
      loss += scored.loss;
      for (const [name, part] of scored.measures) measures.add(name, part);
      yield* scored.results;
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

function boundsOf(groups: readonly Group[]): Int32Array {
  return offsetsOf(groups.map((group) => group.trajectories.length));
}

/** A rollout and its number among the usable ones. */
interface Indexed {
  index: number;
  rollout: Rollout;
}

/** Rollouts as the stages left them, by number; dropped ones are not in `kept`. */
interface Rows {
  rewarded: readonly Trajectory[];
  kept: ReadonlyMap<number, Trajectory>;
}

/** A line as a rollout that the phase's loss can use. @throws FiresteelError ERR_RANGE */
function usable(phase: Phase, text: string, line: number): Rollout {
  const rollout = parseRollout(text, line);
  const missing = missingField(phase, rollout);
  if (missing === null) return rollout;
  throw new FiresteelError("ERR_RANGE", `line ${line}: Expected ${missing} but received none`);
}

/** Everything of the file but its log-probs. */
async function summaries(
  path: string,
  phase: Phase,
  onBadLine: ScoreOptions["onBadLine"],
): Promise<{ light: Trajectory[]; bad: number }> {
  const light = new LightTrajectories();
  const errors: string[] = [];
  let bad = 0;
  for await (const { line, text } of fileLines(path)) {
    try {
      light.add(usable(phase, text, line));
    } catch (error) {
      if (!(error instanceof FiresteelError)) throw error;
      bad += 1;
      if (onBadLine !== undefined) onBadLine(error);
      else if (errors.length < NAMED_LINES) errors.push(error.message);
    }
  }
  if (errors.length > 0) {
    const rest = bad - errors.length;
    const more = rest > 0 ? `\n... and ${rest} more` : "";
    throw new FiresteelError("ERR_RANGE", `${path}: ${bad} unusable\n${errors.join("\n")}${more}`);
  }
  return { light: light.all, bad };
}

/** What a loss must see at once: a rollout, or the adjacent rollouts of a group. */
async function* units(path: string, phase: Phase, coupled: boolean): AsyncGenerator<Indexed[]> {
  const ended = new Set<string | number>();
  let unit: Indexed[] = [];
  let index = 0;
  for await (const { line, text } of fileLines(path)) {
    let rollout: Rollout;
    try {
      rollout = usable(phase, text, line);
    } catch (error) {
      if (error instanceof FiresteelError) continue; // reported by the first reading
      throw error;
    }
    const group = unit[0]?.rollout.group;
    if (unit.length > 0 && !(coupled && group === rollout.group)) {
      yield unit;
      if (coupled) ended.add(group!);
      unit = [];
    }
    if (ended.has(rollout.group)) {
      throw new FiresteelError(
        "ERR_RANGE",
        `line ${line}: Expected the rollouts of group ${rollout.group} in adjacent lines (the loss ` +
          "couples them) but other groups stand between them",
      );
    }
    unit.push({ index: index++, rollout });
  }
  if (unit.length > 0) yield unit;
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

interface ScoredUnit {
  results: ScoredRollout[];
  loss: number;
  measures: ReturnType<Measures["merged"]>;
}

async function scoreUnit(
  engine: Engine,
  phase: Phase,
  unit: readonly Indexed[],
  { rewarded, kept }: Rows,
  scale: LossScale,
  gradients: boolean,
): Promise<ScoredUnit> {
  const rows = unit.map(({ index }) => kept.get(index));
  const used = unit.flatMap(({ rollout }, i) =>
    rows[i] === undefined ? [] : [{ rollout, row: rows[i] }],
  );
  const measures = new Measures();
  const { loss, gradient } =
    used.length === 0
      ? { loss: 0, gradient: new Float32Array(0) }
      : await evaluate(engine, phase, used, scale, measures, gradients);
  let at = 0;
  const pieces = unit.map(({ rollout }, i) => {
    const { length } = rollout.logProbs;
    if (rows[i] === undefined) return new Float32Array(length);
    at += length;
    return gradient.subarray(at - length, at);
  });
  const results = unit.map(({ index, rollout }, i): ScoredRollout => {
    const { length } = rollout.logProbs;
    const row = rows[i];
    return {
      line: rollout.line,
      id: rollout.id,
      group: rollout.group,
      reward: rewarded[index]!.reward,
      dropped: row === undefined,
      advantage: plain(row?.columns.advantage, length),
      weight: plain(row?.columns.weight, length),
      loss: unit.length > 1 ? null : loss,
      ...(gradients ? { dLogProb: [...pieces[i]!] } : {}),
    };
  });
  return { results, loss, measures: measures.merged() };
}

/** A column as JSON: one number where it is one, else one a token. */
function plain(column: Column | undefined, length: number): number | number[] | null {
  if (column === undefined) return null;
  if (column.level === "row") return column.value;
  if (column.level === "action") return [...column.values];
  const { values, bounds } = column;
  return Array.from({ length }, (_, t) => values[bounds.findLastIndex((bound) => bound <= t)]!);
}

async function evaluate(
  engine: Engine,
  phase: Phase,
  used: readonly { rollout: Rollout; row: Trajectory }[],
  scale: LossScale,
  measures: Measures,
  gradients: boolean,
): Promise<{ loss: number; gradient: Float32Array }> {
  const joined = (pick: (rollout: Rollout) => Float32Array) =>
    concatenate(
      Float32Array,
      used.map(({ rollout }) => pick(rollout)),
    );
  const logProb = engine.tensor(joined((r) => r.logProbs));
  const entropy = used.every(({ rollout }) => rollout.entropies !== null)
    ? engine.tensor(joined((r) => r.entropies!))
    : null;
  const batch: LossBatch = {
    engine,
    rows: used.map(({ rollout, row }) => withSampler(row, rollout)),
    groupOffsets: Int32Array.of(0, used.length),
    rowOffsets: offsetsOf(used.map(({ rollout }) => rollout.logProbs.length)),
    mask: concatenate(
      Uint8Array,
      used.map(({ rollout }) => rollout.mask),
    ),
    logProb,
    entropy,
    value: null,
    logits: null,
    oldLogProb: joined((r) => r.oldLogProbs),
    modelLogProb: used.every(({ rollout }) => rollout.refLogProbs !== null)
      ? { reference: joined((r) => r.refLogProbs!) }
      : {},
    modelLogits: {},
    temperature: 1,
    scale,
    maxCompletionLength: 0,
    step: 1,
  };
  const { results, gradient } = engine.scope(() => evaluateTerms(engine, phase.loss, batch));
  try {
    let loss = 0;
    for (const result of results) {
      loss += (await tensorOf(result.loss, "loss").read())[0]!;
      if (result.metrics === null) continue;
      const sums = (await tensorOf(result.metrics, "metrics").read()) as Float64Array;
      for (const [name, part] of Object.entries(result.decode(sums))) measures.add(name, part);
    }
    if (!gradients) return { loss, gradient: new Float32Array(0) };
    const values = (await gradient.logProb?.read()) ?? new Float32Array(logProb.size);
    return { loss, gradient: values as Float32Array };
  } finally {
    disposeGradient(gradient);
    for (const tensor of [logProb, entropy]) tensor?.dispose();
    for (const { loss, metrics } of results) for (const t of [loss, metrics]) t?.dispose();
  }
}

function withSampler(row: Trajectory, { samplerLogProbs }: Rollout): Trajectory {
  if (samplerLogProbs === null) return row;
  const samplerLogProb: Column = { level: "action", values: samplerLogProbs };
  return { ...row, columns: { ...row.columns, samplerLogProb } };
}
