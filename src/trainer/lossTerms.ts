import type { LossBatch, LossResult, LossTerm } from "../contract/loss.js";
import { tensorOf } from "../engine/device.js";
import type { Engine } from "../engine/engine.js";
import { add } from "../engine/nn/elementwise.js";
import type { Tensor } from "../engine/tensor.js";
import type { Measures } from "./metrics.js";

/** What is left of a term once its gradient has been used. */
export interface EvaluatedTerm extends Pick<LossResult, "loss" | "metrics" | "decode"> {
  /** The term's name. */
  readonly block: string;
}

/** Every score that a term may read, and where its gradient stands in the result. */
const gradients = {
  logProb: "dLogProb",
  entropy: "dEntropy",
  value: "dValue",
  logits: "dLogits",
  mean: "dMean",
} as const satisfies Record<string, keyof LossResult>;
type Score = keyof typeof gradients;
const scores = Object.keys(gradients) as Score[];

/** d loss / d scores; null where no term reads the score. */
export type Gradient = Readonly<Record<Score, Tensor | null>>;

export const noGradient: Gradient = byScore(() => null);

/** Scores beside log-probs that any of the terms reads; means only so, as policies over tokens have none. */
export function scoresRead(terms: readonly LossTerm[]) {
  const reads = (score: Exclude<Score, "logProb">) => terms.some((term) => term[score] === true);
  return {
    ...{ entropy: reads("entropy"), value: reads("value"), logits: reads("logits") },
    ...(reads("mean") && { mean: true }),
  };
}

/** Whether a term has to see every row of an optimiser step at once. */
export function isCoupled({ coupling }: Pick<LossTerm, "coupling">): boolean {
  return coupling === "group" || coupling === "pair";
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
  const total = (score: Score) => {
    const name = gradients[score];
    const own = results.flatMap(({ [name]: d }) => (d == null ? [] : [tensorOf(d, name)]));
    // A view, so that the sum is always the caller's to free.
    const begin = earlier[score] === null ? [] : [earlier[score].view(earlier[score].shape)];
    const all = [...begin, ...own];
    return all.length === 0 ? null : all.reduce((a, b) => add(engine, a, b));
  };
  return {
    results: results.map(({ loss, metrics, decode }, i) => {
      return { block: ordered[i]!.block, loss, metrics, decode };
    }),
    gradient: byScore(total),
  };
}

/** The sum of the terms' losses, once the device has it; their metrics go to `measures`. Frees both. */
export async function readTerms(
  results: readonly EvaluatedTerm[],
  measures: Pick<Measures, "add">,
): Promise<number> {
  let sum = 0;
  try {
    for (const { loss, metrics, decode } of results) {
      sum += (await tensorOf(loss, "loss").read())[0]!;
      if (metrics === null) continue;
      const sums = (await tensorOf(metrics, "metrics").read()) as Float64Array;
      for (const [name, part] of Object.entries(decode(sums))) measures.add(name, part);
    }
    return sum;
  } finally {
    disposeTerms(results);
  }
}

export function disposeTerms(results: readonly EvaluatedTerm[]): void {
  for (const { loss, metrics } of results) for (const tensor of [loss, metrics]) tensor?.dispose();
}

/** Rows `begin` to `end` (actions, not trajectories) of a gradient, as views of its memory. */
export function gradientRows(gradient: Gradient, begin: number, end: number): Gradient {
  return byScore((score) => gradient[score]?.rows(begin, end) ?? null);
}

export function disposeGradient(gradient: Gradient): void {
  for (const score of scores) gradient[score]?.dispose();
}

function byScore(of: (score: Score) => Tensor | null): Gradient {
  return Object.fromEntries(scores.map((score) => [score, of(score)])) as Gradient;
}
