import type { Group, Trajectory } from "../contract/data.js";
import type { Measurer } from "../contract/metrics.js";
import type { Phase } from "../contract/system.js";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { accumulate, evaluateWhole, type Scored, type UpdateFrame } from "./accumulate.js";
import { failedUpdate } from "./failedUpdate.js";
import { learningRate } from "./learningRate.js";
import {
  disposeGradient,
  disposeTerms,
  type EvaluatedTerm,
  gradientRows,
  isCoupled,
  readTerms,
} from "./lossTerms.js";
import { Measures, samplingMetrics } from "./metrics.js";
import { lossScale, microBatches, minibatches, type RowBatch } from "./minibatches.js";
import { notANumber } from "./notANumber.js";
import { uniformAt } from "./random.js";
import { checkAbort, type Run } from "./run.js";
import { type RowScores, scoreRows } from "./scores.js";

/**
 * Learns from the rows of a phase: passes over minibatches with the old log-probs fixed.
 *
 * @returns how many actions went through the network with a gradient
 * @throws FiresteelError ERR_RANGE where a loss or gradient is not finite; ERR_OPTION where a row lacks
 *   a column that a loss reads
 */
export async function updatePhase(
  run: Run,
  phase: Phase,
  groups: readonly Group[],
  step: number,
  measure: Measurer,
): Promise<number> {
  const { settings } = run;
  const rows = groups.flatMap((group) => group.trajectories);
  checkColumns(phase, rows);
  const scored = await scoreBefore(run, phase, rows);
  const told = new Set<string>();
  const tell: Measurer = (name, part) => {
    told.add(name);
    measure(name, part);
  };

  const size = phase.update.minibatchSize ?? settings.minibatchSize;
  const passes = phase.update.numIterations ?? settings.numIterations;
  const phaseIndex = run.system.phases.indexOf(phase);
  let actions = 0;
  for (let pass = 0; pass < passes; ++pass) {
    const uniform = uniformAt(settings.seed, "minibatch", step, phaseIndex, pass);
    const batches = minibatches(groups, size, phase.loss, uniform);
    for (const [i, batch] of batches.entries()) {
      checkAbort(run);
      const rate = learningRate(run, phase, step, (pass + i / batches.length) / passes);
      const frame = { run, phase, scored, scale: lossScale(batch), step };
      await updateOnce(frame, batch, rate, tell);
      actions += batch.rows.reduce((sum, row) => sum + row.actions.length, 0);
    }
  }
  // What a loss reports of the same (entropies as they are now, corrected weights) stands.
  measureScores(phase, rows, scored, (name, part) => {
    if (!told.has(name)) measure(name, part);
  });
  return actions;
}

/** What a loss reads must stand in every row: a default would hide a block that forgot to write it. */
function checkColumns(phase: Phase, rows: readonly Trajectory[]): void {
  for (const { block, columns } of phase.loss) {
    const missing = columns.find((name) => rows.some((row) => row.columns[name] === undefined));
    if (missing === undefined) continue;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected a column ${show(missing)} in every row of phase ${show(phase.name)} (${block} reads ` +
        "it) but some have none",
    );
  }
}

async function scoreBefore(run: Run, phase: Phase, rows: readonly Trajectory[]): Promise<Scored> {
  const scored = new Map<Trajectory, Record<string, RowScores>>(rows.map((row) => [row, {}]));
  const names = new Set([phase.model, ...phase.loss.flatMap((term) => term.models)]);
  const mean = phase.loss.some((term) => term.mean);
  for (const name of names) {
    const entropy = name === phase.model;
    const wanted = { entropy, ...(mean && { mean }) };
    const scores = await scoreRows(run, run.models[name]!, rows, wanted);
    for (const [i, row] of rows.entries()) scored.get(row)![name] = scores[i]!;
  }
  return scored;
}

function measureScores(
  phase: Phase,
  rows: readonly Trajectory[],
  scored: Scored,
  measure: Measurer,
): void {
  const pairs: { sampler: number; trainer: number }[] = [];
  let entropy = 0;
  let count = 0;
  for (const row of rows) {
    const old = scored.get(row)![phase.model]!;
    const sampler = row.columns.samplerLogProb;
    for (let i = 0; i < row.actions.length; ++i) {
      if (row.mask[i] === 0) continue;
      if (old.entropy !== null) {
        entropy += old.entropy[i]!;
        ++count;
      }
      if (sampler?.level !== "action") continue;
      pairs.push({ sampler: sampler.values[i]!, trainer: old.logProb[i]! });
    }
  }
  measure("entropy", { kind: "mean", sum: entropy, count });
  for (const [name, value] of Object.entries(samplingMetrics(pairs))) {
    measure(name, { kind: "mean", sum: value ?? 0, count: value === null ? 0 : 1 });
  }
}

/** Gradients of a whole optimiser step, however many micro-batches it takes. */
async function gradients(frame: UpdateFrame, batch: RowBatch): Promise<EvaluatedTerm[]> {
  const { run, phase } = frame;
  const parts = microBatches(batch, run.settings.microBatchSize);
  const coupled = parts.length > 1 && phase.loss.some(isCoupled);
  const whole = coupled ? await evaluateWhole(frame, batch) : null;
  const results = [...(whole?.results ?? [])];
  let begin = 0;
  try {
    for (const part of parts) {
      checkAbort(run);
      const end = begin + part.rows.reduce((sum, { actions }) => sum + actions.length, 0);
      const own = whole && gradientRows(whole.gradient, begin, end);
      try {
        results.push(...accumulate(frame, part, own));
      } finally {
        if (own !== null) disposeGradient(own);
      }
      begin = end;
    }
  } catch (error) {
    disposeTerms(results);
    throw error;
  } finally {
    if (whole !== null) disposeGradient(whole.gradient);
  }
  return results;
}

async function updateOnce(
  frame: UpdateFrame,
  batch: RowBatch,
  rate: number,
  measure: Measurer,
): Promise<void> {
  const { run, phase, scored } = frame;
  const optimizer = run.optimizers[phase.model]!;
  optimizer.zeroGrad();
  const parts = new Measures();
  const loss = await readTerms(await gradients(frame, batch), parts);
  // What is not finite is caught before the step; a gradient that is not, by the step itself, which then
  // changes nothing.
  const columns = phase.loss.flatMap((term) => term.columns);
  const sound = Number.isFinite(loss) && notANumber(batch.rows, scored, columns) === null;
  if (sound) optimizer.step(rate);
  const gradNorm = sound ? await optimizer.gradNorm() : null;
  if (gradNorm === null || !Number.isFinite(gradNorm)) {
    const again = (part: RowBatch) => gradients(frame, part);
    throw await failedUpdate(frame, { batch, rate, loss, gradNorm, again });
  }
  run.progress.updates += 1;
  for (const [name, part] of parts.merged()) measure(name, part);
  measure("loss", { kind: "mean", sum: loss, count: 1 });
  measure("grad_norm", { kind: "mean", sum: gradNorm, count: 1 });
  measure("learning_rate", { kind: "mean", sum: rate, count: 1 });
}
