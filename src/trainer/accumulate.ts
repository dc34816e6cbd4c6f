import type { Trajectory } from "../contract/data.js";
import type { DeviceTensor } from "../contract/device.js";
import type { LossBatch, LossScale, LossTerm } from "../contract/loss.js";
import type { Phase } from "../contract/system.js";
import { concatenate, offsetsOf } from "../engine/ragged.js";
import {
  disposeGradient,
  type EvaluatedTerm,
  evaluateTerms,
  type Gradient,
  isCoupled,
  noGradient,
  scoresRead,
} from "./lossTerms.js";
import type { RowBatch } from "./minibatches.js";
import type { Run } from "./run.js";
import { type RowScores, scoreRows } from "./scores.js";

/** Log-probs of every row before the first update of a phase, by model; the learning one's are the old. */
export type Scored = ReadonlyMap<Trajectory, Readonly<Record<string, RowScores>>>;

/** One optimiser step of a phase, of which micro-batches are parts. */
export interface UpdateFrame {
  readonly run: Run;
  readonly phase: Phase;
  readonly scored: Scored;
  readonly scale: LossScale;
  readonly step: number;
}

/**
 * Forward and backward of one micro-batch; gradients are added to the parameters'.
 *
 * @param whole what `evaluateWhole` made for these rows: then only the other terms are evaluated here
 */
export function accumulate(
  frame: UpdateFrame,
  part: RowBatch,
  whole: Gradient | null,
): EvaluatedTerm[] {
  return frame.run.engine.attempt(() => forwardAndBackward(frame, part, whole));
}

function forwardAndBackward(
  frame: UpdateFrame,
  part: RowBatch,
  whole: Gradient | null,
): EvaluatedTerm[] {
  const { run, phase } = frame;
  const { temperature } = run.settings;
  const model = run.models[phase.model]!;
  const forward = model.forward(part.rows, { temperature, ...scoresRead(phase.loss) });
  const terms = whole === null ? phase.loss : phase.loss.filter((term) => !isCoupled(term));
  const modelLogits = logitsRead(run, terms, part.rows);
  const { rowOffsets, logProb, entropy, value = null, logits = null, mean = null } = forward;
  const scores = { rowOffsets, logProb, entropy, value, logits, mean, modelLogits };
  const { results, gradient } = run.engine.scope(() =>
    evaluateTerms(run.engine, terms, lossBatch(frame, part, scores), whole ?? noGradient),
  );
  for (const logits of Object.values(modelLogits)) logits.dispose();
  forward.backward(gradient);
  disposeGradient(gradient);
  return results;
}

/**
 * The coupled terms of an optimiser step that is cut into micro-batches, once over all its rows: these are
 * scored without a gradient first. What each micro-batch gets of the gradient is `gradientRows`.
 */
export async function evaluateWhole(
  frame: UpdateFrame,
  batch: RowBatch,
): Promise<{ results: EvaluatedTerm[]; gradient: Gradient }> {
  const { run, phase } = frame;
  const { engine } = run;
  const terms = phase.loss.filter(isCoupled);
  // None of them reads logits, which would have to be there for all rows at once.
  const { logits: _, ...wanted } = scoresRead(terms);
  const scored = await scoreRows(run, run.models[phase.model]!, batch.rows, wanted);
  const evaluated = () => {
    const tensor = (kind: keyof RowScores) =>
      engine.tensor(
        concatenate(
          Float32Array,
          scored.map((scores) => scores[kind]!),
        ),
      );
    const logProb = tensor("logProb");
    const mean = wanted.mean === true ? tensor("mean") : null;
    const scores = {
      rowOffsets: offsetsOf(batch.rows.map(({ actions }) => actions.length)),
      logProb,
      entropy: wanted.entropy ? tensor("entropy") : null,
      value: wanted.value ? tensor("value") : null,
      logits: null,
      mean: mean?.view([logProb.size, mean.size / (logProb.size || 1)]) ?? null,
      modelLogits: {},
    };
    return evaluateTerms(engine, terms, lossBatch(frame, batch, scores), noGradient);
  };
  return engine.attempt(() => engine.scope(evaluated));
}

/** Logits of the models that a micro-batch's terms compare the policy with. */
function logitsRead(
  { models }: Run,
  terms: readonly LossTerm[],
  rows: readonly Trajectory[],
): Record<string, DeviceTensor> {
  const read: Record<string, DeviceTensor> = {};
  for (const name of new Set(terms.flatMap((term) => term.modelLogits ?? []))) {
    const { logProb, logits } = models[name]!.score(rows, { logits: true });
    logProb.dispose();
    read[name] = logits!;
  }
  return read;
}

function lossBatch(
  { run, phase, scored, scale, step }: UpdateFrame,
  { rows, groupOffsets }: RowBatch,
  scores: Pick<
    LossBatch,
    "rowOffsets" | "logProb" | "entropy" | "value" | "logits" | "mean" | "modelLogits"
  >,
): LossBatch {
  const joined = (model: string, kind: "logProb" | "mean") =>
    concatenate(
      Float32Array,
      rows.map((row) => scored.get(row)![model]![kind]!),
    );
  const ofModels = (kind: "logProb" | "mean") =>
    Object.fromEntries(
      phase.loss.flatMap(({ models }) => models.map((model) => [model, joined(model, kind)])),
    );
  const { rowOffsets, logProb, entropy, value, logits, mean = null, modelLogits } = scores;
  return {
    engine: run.engine,
    rows,
    groupOffsets,
    rowOffsets,
    mask: concatenate(
      Uint8Array,
      rows.map((row) => row.mask),
    ),
    ...{ logProb, entropy, value, logits, mean },
    oldLogProb: joined(phase.model, "logProb"),
    modelLogProb: ofModels("logProb"),
    ...(mean !== null && { oldMean: joined(phase.model, "mean"), modelMean: ofModels("mean") }),
    modelLogits,
    temperature: run.settings.temperature,
    scale,
    maxCompletionLength: run.settings.maxCompletionLength,
    step,
  };
}
