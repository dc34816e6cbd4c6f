import type { Column, Trajectory } from "../contract/data.js";
import type { LossBatch, LossScale } from "../contract/loss.js";
import type { Phase } from "../contract/system.js";
import type { Engine } from "../engine/engine.js";
import { concatenate, offsetsOf } from "../engine/ragged.js";
import { disposeGradient, evaluateTerms, readTerms } from "../trainer/lossTerms.js";
import { Measures } from "../trainer/metrics.js";
import type { Rollout } from "./rolloutFile.js";
import type { Indexed } from "./usableRollouts.js";

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

/** Rollouts as the stages left them, by number; dropped ones are not in `kept`. */
export interface Rows {
  rewarded: readonly Trajectory[];
  kept: ReadonlyMap<number, Trajectory>;
}

/** What became of some rollouts, and their part of the loss. */
interface ScoredUnit {
  results: ScoredRollout[];
  loss: number;
  measures: ReturnType<Measures["merged"]>;
}

/** Scores what a loss must see at once. */
export async function scoreUnit(
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
  const withEntropy = used.every(({ rollout }) => rollout.entropies !== null);
  const batch: Omit<LossBatch, "logProb" | "entropy"> = {
    engine,
    rows: used.map(({ rollout, row }) => withSampler(row, rollout)),
    groupOffsets: Int32Array.of(0, used.length),
    rowOffsets: offsetsOf(used.map(({ rollout }) => rollout.logProbs.length)),
    mask: concatenate(
      Uint8Array,
      used.map(({ rollout }) => rollout.mask),
    ),
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
  const { logProb, entropy, results, gradient } = engine.attempt(() => {
    const logProb = engine.tensor(joined((r) => r.logProbs));
    const entropy = withEntropy ? engine.tensor(joined((r) => r.entropies!)) : null;
    const given = { ...batch, logProb, entropy };
    return {
      ...{ logProb, entropy },
      ...engine.scope(() => evaluateTerms(engine, phase.loss, given)),
    };
  });
  try {
    const loss = await readTerms(results, measures);
    if (!gradients) return { loss, gradient: new Float32Array(0) };
    const values = (await gradient.logProb?.read()) ?? new Float32Array(logProb.size);
    return { loss, gradient: values as Float32Array };
  } finally {
    disposeGradient(gradient);
    for (const tensor of [logProb, entropy]) tensor?.dispose();
  }
}

function withSampler(row: Trajectory, { samplerLogProbs }: Rollout): Trajectory {
  if (samplerLogProbs === null) return row;
  const samplerLogProb: Column = { level: "action", values: samplerLogProbs };
  return { ...row, columns: { ...row.columns, samplerLogProb } };
}
