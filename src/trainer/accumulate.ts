import type { Trajectory } from "../contract/data.js";
import type { DeviceTensor } from "../contract/device.js";
import type { LossBatch, LossResult, LossScale, LossTerm } from "../contract/loss.js";
import type { Phase } from "../contract/system.js";
import { tensorOf } from "../engine/device.js";
import type { Engine } from "../engine/engine.js";
import { add } from "../engine/nn/elementwise.js";
import { concatenate, offsetsOf } from "../engine/ragged.js";
import type { Tensor } from "../engine/tensor.js";
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

/** What is left of a term once its gradient has been used. */
export type EvaluatedTerm = Pick<LossResult, "loss" | "metrics" | "decode">;

const kinds = ["logProb", "entropy", "value", "logits"] as const;

/** d loss / d scores; null where no term reads the score. */
export type Gradient = Readonly<Record<(typeof kinds)[number], Tensor | null>>;

const noGradient: Gradient = { logProb: null, entropy: null, value: null, logits: null };

/** Whether a term has to see every row of an optimiser step at once. */
export function isCoupled({ coupling }: Pick<LossTerm, "coupling">): boolean {
  return coupling === "group" || coupling === "pair";
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
  const { run, phase } = frame;
  const { temperature } = run.settings;
  const asks = (score: "entropy" | "value" | "logits") => phase.loss.some((term) => term[score]);
  const wanted = { entropy: asks("entropy"), value: asks("value"), logits: asks("logits") };
  const forward = run.models[phase.model]!.forward(part.rows, { temperature, ...wanted });
  const terms = whole === null ? phase.loss : phase.loss.filter((term) => !isCoupled(term));
  let evaluated: { results: EvaluatedTerm[]; gradient: Gradient };
  const modelLogits: Record<string, DeviceTensor> = {};
  try {
    addLogits(modelLogits, run, terms, part.rows);
    const { rowOffsets, logProb, entropy, value = null, logits = null } = forward;
    const scores = { rowOffsets, logProb, entropy, value, logits, modelLogits };
    evaluated = run.engine.scope(() =>
      evaluateTerms(run.engine, terms, lossBatch(frame, part, scores), whole ?? noGradient),
    );
  } catch (error) {
    forward.dispose();
    throw error;
  } finally {
    for (const logits of Object.values(modelLogits)) logits.dispose();
  }
  const { results, gradient } = evaluated;
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
  const asks = (score: "entropy" | "value") => terms.some((term) => term[score]);
  const wanted = { entropy: asks("entropy"), value: asks("value") };
  const scored = await scoreRows(run.models[phase.model]!, batch.rows, run.settings, wanted);
  return engine.scope(() => {
    const tensor = (kind: keyof RowScores) =>
      engine.tensor(
        concatenate(
          Float32Array,
          scored.map((scores) => scores[kind]!),
        ),
      );
    const scores = {
      rowOffsets: offsetsOf(batch.rows.map(({ actions }) => actions.length)),
      logProb: tensor("logProb"),
      entropy: wanted.entropy ? tensor("entropy") : null,
      value: wanted.value ? tensor("value") : null,
      logits: null,
      modelLogits: {},
    };
    return evaluateTerms(engine, terms, lossBatch(frame, batch, scores), noGradient);
  });
}

/** Rows `begin` to `end` (actions, not trajectories) of a gradient, as views of its memory. */
export function gradientRows(gradient: Gradient, begin: number, end: number): Gradient {
  return mapGradient(gradient, (tensor) => tensor.rows(begin, end));
}

export function disposeGradient(gradient: Gradient): void {
  for (const kind of kinds) gradient[kind]?.dispose();
}

function mapGradient(gradient: Gradient, change: (tensor: Tensor) => Tensor): Gradient {
  const entries = kinds.map((kind) => [kind, gradient[kind] && change(gradient[kind])]);
  return Object.fromEntries(entries) as Gradient;
}

/** Logits of the models that a micro-batch's terms compare the policy with. */
function addLogits(
  into: Record<string, DeviceTensor>,
  { models }: Run,
  terms: readonly LossTerm[],
  rows: readonly Trajectory[],
): void {
  for (const name of new Set(terms.flatMap((term) => term.modelLogits ?? []))) {
    const { logProb, logits } = models[name]!.score(rows, { logits: true });
    logProb.dispose();
    into[name] = logits!;
  }
}

function lossBatch(
  { run, phase, scored, scale, step }: UpdateFrame,
  { rows, groupOffsets }: RowBatch,
  scores: Pick<
    LossBatch,
    "rowOffsets" | "logProb" | "entropy" | "value" | "logits" | "modelLogits"
  >,
): LossBatch {
  const logProbOf = (model: string) =>
    concatenate(
      Float32Array,
      rows.map((row) => scored.get(row)![model]!.logProb),
    );
  const { rowOffsets, logProb, entropy, value, logits, modelLogits } = scores;
  return {
    engine: run.engine,
    rows,
    groupOffsets,
    rowOffsets,
    mask: concatenate(
      Uint8Array,
      rows.map((row) => row.mask),
    ),
    ...{ logProb, entropy, value, logits },
    oldLogProb: logProbOf(phase.model),
    modelLogProb: Object.fromEntries(
      phase.loss.flatMap((term) => term.models.map((name) => [name, logProbOf(name)])),
    ),
    modelLogits,
    temperature: run.settings.temperature,
    scale,
    step,
  };
}

/**
 * All terms at once: their gradients added up, coupled terms first, so that the sum does not depend on
 * whether those were evaluated earlier.
 *
 * @param earlier added to the gradient; stays the caller's
 */
export function evaluateTerms(
  engine: Engine,
  terms: readonly LossTerm[],
  batch: LossBatch,
  earlier: Gradient = noGradient,
): { results: EvaluatedTerm[]; gradient: Gradient } {
  const ordered = [...terms.filter(isCoupled), ...terms.filter((term) => !isCoupled(term))];
  const results = ordered.map((term) => term.evaluate(batch));
  const total = (
    kind: (typeof kinds)[number],
    parts: readonly (DeviceTensor | null | undefined)[],
  ) => {
    const own = parts.flatMap((part) => (part == null ? [] : [tensorOf(part, `d ${kind}`)]));
    // A view, so that the sum is always the callee's to free.
    const begin = earlier[kind] === null ? [] : [earlier[kind].view(earlier[kind].shape)];
    const all = [...begin, ...own];
    return all.length === 0 ? null : all.reduce((a, b) => add(engine, a, b));
  };
  return {
    results: results.map(({ loss, metrics, decode }) => ({ loss, metrics, decode })),
    gradient: {
      logProb: total(
        "logProb",
        results.map((result) => result.dLogProb),
      ),
      entropy: total(
        "entropy",
        results.map((result) => result.dEntropy),
      ),
      value: total(
        "value",
        results.map((result) => result.dValue),
      ),
      logits: total(
        "logits",
        results.map((result) => result.dLogits),
      ),
    },
  };
}
