import type { Trajectory } from "../contract/data.js";
import type { LossBatch, LossResult, LossScale, LossTerm } from "../contract/loss.js";
import type { Phase } from "../contract/system.js";
import { tensorOf } from "../engine/device.js";
import type { Engine } from "../engine/engine.js";
import { add } from "../engine/nn/elementwise.js";
import { concatenate } from "../engine/ragged.js";
import type { Tensor } from "../engine/tensor.js";
import type { RowBatch } from "./minibatches.js";
import type { Run } from "./run.js";
import type { RowScores } from "./scores.js";

/** Log-probs of every row before the first update of a phase, by model; the learning one's are the old. */
export type Scored = ReadonlyMap<Trajectory, Readonly<Record<string, RowScores>>>;

/** Forward and backward of one micro-batch; gradients are added to the parameters'. */
export function accumulate(
  run: Run,
  phase: Phase,
  part: RowBatch,
  scored: Scored,
  scale: LossScale,
  step: number,
): EvaluatedTerm[] {
  const { rows, groupOffsets } = part;
  const { temperature } = run.settings;
  const entropy = phase.loss.some((term) => term.entropy);
  const mean = phase.loss.some((term) => term.mean);
  const joined = (model: string, name: "logProb" | "mean") =>
    concatenate(
      Float32Array,
      rows.map((row) => scored.get(row)![model]![name]!),
    );
  const ofModels = (name: "logProb" | "mean") =>
    Object.fromEntries(
      phase.loss.flatMap(({ models }) => models.map((model) => [model, joined(model, name)])),
    );
  const how = { temperature, entropy, ...(mean && { mean }) };
  const forward = run.models[phase.model]!.forward(rows, how);
  const batch: LossBatch = {
    engine: run.engine,
    rows,
    groupOffsets,
    rowOffsets: forward.rowOffsets,
    mask: concatenate(
      Uint8Array,
      rows.map((row) => row.mask),
    ),
    logProb: forward.logProb,
    entropy: forward.entropy,
    oldLogProb: joined(phase.model, "logProb"),
    modelLogProb: ofModels("logProb"),
    ...(mean && {
      mean: forward.mean ?? null,
      oldMean: joined(phase.model, "mean"),
      modelMean: ofModels("mean"),
    }),
    scale,
    step,
  };
  let evaluated: { results: EvaluatedTerm[]; gradient: Gradient };
  try {
    evaluated = run.engine.scope(() => evaluateTerms(run.engine, phase.loss, batch));
  } catch (error) {
    forward.dispose();
    throw error;
  }
  const { results, gradient } = evaluated;
  forward.backward(gradient);
  gradient.logProb.dispose();
  gradient.entropy?.dispose();
  gradient.mean?.dispose();
  return results;
}

/** What is left of a term once its gradient has been used. */
export type EvaluatedTerm = Pick<LossResult, "loss" | "metrics" | "decode">;

interface Gradient {
  logProb: Tensor;
  entropy: Tensor | null;
  mean: Tensor | null;
}

/** All terms at once: their gradients added up. */
export function evaluateTerms(
  engine: Engine,
  terms: readonly LossTerm[],
  batch: LossBatch,
): { results: EvaluatedTerm[]; gradient: Gradient } {
  const results = terms.map((term) => term.evaluate(batch));
  const sum = (parts: readonly Tensor[]) => parts.reduce((a, b) => add(engine, a, b));
  const sumOf = (name: "dEntropy" | "dMean") => {
    const parts = results.flatMap(({ [name]: d }) => (d == null ? [] : [tensorOf(d, name)]));
    return parts.length === 0 ? null : sum(parts);
  };
  return {
    results: results.map(({ loss, metrics, decode }) => ({ loss, metrics, decode })),
    gradient: {
      logProb: sum(results.map(({ dLogProb }) => tensorOf(dLogProb, "dLogProb"))),
      entropy: sumOf("dEntropy"),
      mean: sumOf("dMean"),
    },
  };
}
