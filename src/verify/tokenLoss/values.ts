import type { Engine } from "../../engine/engine.js";
import {
  type AdvantageUnit,
  type Aggregation,
  aggregations,
  type Form,
  type KlEstimator,
  klEstimators,
  type Level,
  type Mismatch,
  mismatches,
  refuseAggregation,
  refuseKlRatio,
} from "../../engine/kernels/surrogateTable.js";
import type { TokenLossOptions } from "../../engine/kernels/tokenLoss.js";
import { tokenLossTable } from "../../engine/kernels/tokenLossTable.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { surrogate } from "../../reference/surrogate.js";
import { tokenLoss as reference, type TokenLossValues } from "../../reference/tokenLoss.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, values } from "../compare.js";
import { type Float, widen } from "../inputs.js";
import { backwardTolerance, forwardTolerance, type LogProbCase, rowsOf } from "../logProb/cases.js";
import { aggregated, type BatchShape } from "../surrogate/batch.js";
import { gradientTolerance, tolerance } from "../surrogate/compare.js";
import { reachable } from "../surrogate/values.js";
import {
  family,
  fused,
  type RowsShape,
  separately,
  type TokenLossCase,
  tokenLossCase,
} from "./cases.js";

/** Every output has the bits of the three calls. */
function sameAsSeparate(engine: Engine, c: TokenLossCase, inPlace = false): string | null {
  const [got, want] = [fused(engine, c, inPlace), separately(engine, c, inPlace)];
  return firstOf(
    ...Object.entries(want).map(([name, tensor]) =>
      tensor === null
        ? got[name] === null
          ? null
          : `${name} was not asked for`
        : identical(name, got[name]!, tensor),
    ),
  );
}

/**
 * How far loss and d log-prob may be off: by surrogate's own error, and by what they change where every
 * log-prob is at an end of its own tolerance. A token's gradient depends on its log-prob alone, so that
 * all may be moved at once.
 */
function lossTolerances(c: TokenLossCase, want: TokenLossValues) {
  const { tokens, options } = c;
  const ofLogProb = forwardTolerance(c.rows);
  const own = gradientTolerance(options, want.magnitude.dLogProb);
  const ends = [1, -1].map((side) => {
    const logProb = want.logProb.map((x, t) => x + side * ofLogProb(t));
    return surrogate({ ...tokens, logProb, entropy: want.entropy }, options);
  });
  const moved = (t: number) =>
    Math.max(...ends.map(({ dLogProb }) => Math.abs(dLogProb[t]! - want.dLogProb[t]!)));
  const slopes = want.dLogProb.reduce(
    (sum, x, t) => sum + (Math.abs(x) + moved(t) + Math.abs(want.dEntropy[t]!)) * ofLogProb(t),
    0,
  );
  return {
    dLogProb: (t: number) => own(t) + moved(t),
    loss: tolerance("loss") * want.magnitude.loss + 2 * slopes + 1e-300,
  };
}

/** d logits as log_prob's backward has them of exact slopes, beside what the slopes are off. */
function logitsTolerance(
  rows: LogProbCase,
  want: TokenLossValues,
  dLogProb: (t: number) => number,
): (index: number) => number {
  const own = backwardTolerance({
    ...rows,
    dLogProb: Float32Array.from(want.dLogProb),
    dEntropy: Float32Array.from(want.dEntropy),
    dVocabMean: null,
  });
  const { vocab, temperature } = rows;
  return (index) => {
    const t = Math.floor(index / vocab);
    const scale = typeof temperature === "number" ? temperature : temperature[t]!;
    return own(index) + dLogProb(t) / scale;
  };
}

/** Loss, log-probs and gradients against float64. */
function againstFloat64(engine: Engine, c: TokenLossCase): string | null {
  const { rows, tokens, options } = c;
  const want = reference(rowsOf(rows), tokens, options);
  const got = fused(engine, c);
  const near = lossTolerances(c, want);
  const dLogits = widen(got.dLogits!.readSync(), rows.dtype);
  return firstOf(
    close("logProb", values(got.logProb!), want.logProb, forwardTolerance(rows)),
    close("loss", values(got.loss!), [want.loss], near.loss),
    close("dLogProb", values(got.dLogProb!), want.dLogProb, near.dLogProb),
    close("dLogits", dLogits, want.dLogits, logitsTolerance(rows, want, near.dLogProb)),
  );
}

/** The gradient of the logits against difference quotients, with what is held constant frozen. */
function againstDifferences(engine: Engine, c: TokenLossCase): string | null {
  const { rows, tokens, options } = c;
  const all = rowsOf(rows);
  const want = reference(all, tokens, options);
  const near = lossTolerances(c, want);
  const quotients = finiteDifference(
    (logits) => reference({ ...all, logits }, tokens, options, want.logProb).loss,
    rows.logits.numbers,
  );
  const got = values(fused(engine, c).dLogits!);
  const own = logitsTolerance(rows, want, near.dLogProb);
  // 1e-8: the quotient's own error, from curvature and rounding.
  return close("dLogits", got, quotients, (i) => own(i) + 1e-8);
}

/** Every combination of the table that is not refused. */
export const legal = tokenLossTable.combinations
  .filter(({ refusal }) => refusal === null)
  .map(({ choices }) => choices as { form: Form; level: Level; advantage: AdvantageUnit });

const allAggregations = Object.keys(aggregations) as Aggregation[];
const allEstimators = Object.keys(klEstimators) as KlEstimator[];
const floats: readonly Float[] = ["f32", "bf16", "f16"];

/** One combination under some aggregations, dtypes and estimators, so that each occurs. */
function combinationCheck(
  device: Engine["device"],
  { form, level, advantage }: (typeof legal)[number],
  turn: number,
): Check {
  return {
    family,
    name: `${form}, level ${level}, advantage per ${advantage}`,
    run(engine) {
      const kinds = allAggregations.filter((a) => refuseAggregation(a, advantage) === null);
      const chosen = device === "emulated" ? [kinds[turn % kinds.length]!] : kinds;
      return firstOf(
        ...chosen.flatMap((aggregation, i) => {
          const n = turn + i;
          const options: TokenLossOptions = aggregated(aggregation, {
            ...{ form, level, ...reachable(form), beta: 0.1 },
            klEstimator: allEstimators[n % allEstimators.length]!,
            klRatio: refuseKlRatio(form) === null && n % 2 === 1,
            entropyCoefficient: n % 3 === 0 ? 0.05 : 0,
          });
          const shape: BatchShape = { advantage, masked: true, weighted: n % 2 === 0, seed: n + 1 };
          const dtype = floats[n % 3]!;
          const c = tokenLossCase(options, shape, { dtype, temperature: 0.8 });
          const compared = [againstFloat64(engine, c), sameAsSeparate(engine, c, n % 2 === 0)];
          return device === "emulated" ? compared : [...compared, quotientsOf(engine, c)];
        }),
      );
    },
  };
}

/** On fewer and shorter rows of f32: a quotient costs two losses a logit. */
function quotientsOf(engine: Engine, { options, tokens }: TokenLossCase): string | null {
  const { tokenAdvantage, weight, mask } = tokens;
  const small = tokenLossCase(
    options,
    {
      ...{ lengths: [4, 0, 3, 1], masked: mask !== undefined, weighted: weight !== undefined },
      ...{ advantage: tokenAdvantage === undefined ? "row" : "token", seed: 4 },
    },
    { vocab: 5, temperature: 0.8 },
  );
  return againstDifferences(engine, small);
}

type Case = [
  name: string,
  options: Partial<TokenLossOptions>,
  shape?: BatchShape,
  rows?: RowsShape,
];

const mismatched = (Object.keys(mismatches) as Mismatch[]).filter((kind) => kind !== "none");

/** Every option and input that reaches the gradient, and sizes at which blocks begin and end. */
function cases(device: Engine["device"]): Case[] {
  const emulated = device === "emulated";
  const long = Array.from({ length: emulated ? 40 : 600 }, (_, r) => r % 5);
  return [
    ["delta and dual clip", { delta: 1.5, dualClip: 1.2 }, { spread: 0.6 }],
    ["limits per row", {}, { limits: "row" }],
    ["limits per token", {}, { limits: "token" }],
    ["log-ratios clamped", { logRatioClamp: [-0.1, 0.2] }],
    ["KL clamped", { beta: 0.3, klClamp: { difference: 0.5, value: 0.1 } }],
    ...mismatched.map((mismatch): Case => [`mismatch ${mismatch}`, { mismatch }]),
    ["mismatch without a ratio", { mismatch: "sequence-mask", form: "reinforce", level: "none" }],
    ["shaped rows", { beta: 0.1 }, { shaped: true }],
    ["shaped rows by the old policy", { shapeBase: "old" }, { shaped: true }],
    ["normalised ratios", { logRatioClamp: [-0.4, 0.5] }, { normalised: true }],
    ["entropy bonus", { entropyCoefficient: 0.3 }],
    [
      "entropy bonus as a token mean",
      { entropyCoefficient: 0.3, entropyAggregation: "token-mean" },
    ],
    ["entropies without a bonus", { entropy: true }],
    ["denominator given", { denominator: 37.5 }],
    ["a temperature a row", { entropyCoefficient: 0.1 }, {}, { temperature: "rows" }],
    ["columns that do not count", {}, {}, { padding: 6, dtype: "bf16" }],
    ["one token", {}, { lengths: [1], masked: false }],
    ["few logits a row", { beta: 0.1 }, { weighted: true }, { vocab: 37 }],
    ["one logit a row", {}, { lengths: [3] }, { vocab: 1 }],
    ["only empty rows", {}, { lengths: [0, 0, 0] }],
    ["no rows", {}, { lengths: [] }],
    // A block of the CPU holds 65,536 logits.
    ["many short rows", { beta: 0.1 }, { lengths: long }, { vocab: emulated ? 260 : 300 }],
    ["rows longer than a block", {}, { lengths: emulated ? [90] : [900, 1, 0, 700] }],
    [
      "rows of logits longer than a block",
      { entropyCoefficient: 0.1 },
      { lengths: emulated ? [2] : [3, 0, 2] },
      { vocab: emulated ? 4096 : 70001, dtype: "bf16" },
    ],
  ];
}

/** Every legal combination and option: against float64, and against the three calls bit by bit. */
export function tokenLossValueChecks(device: Engine["device"]): Check[] {
  return [
    ...legal.map((combination, i) => combinationCheck(device, combination, i)),
    ...cases(device).map(
      ([name, options, shape, rows]): Check => ({
        family,
        name,
        run(engine) {
          const all = { aggregation: "seq-mean-token-mean", ...options } as const;
          const c = tokenLossCase(all, { masked: true, seed: 3, ...shape }, rows);
          return firstOf(sameAsSeparate(engine, c), againstFloat64(engine, c));
        },
      }),
    ),
  ];
}
