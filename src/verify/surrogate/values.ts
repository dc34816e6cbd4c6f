import type { Engine } from "../../engine/engine.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import {
  type AdvantageUnit,
  type Aggregation,
  aggregations,
  type Form,
  groupedAggregations,
  type KlEstimator,
  klEstimators,
  type Level,
  levels,
  type Mismatch,
  mismatches,
  refuseAggregation,
  refuseCombination,
  rowAggregations,
  surrogateTable,
} from "../../engine/kernels/surrogateTable.js";
import { type Check, firstOf } from "../check.js";
import { aggregated, type BatchShape, family, tokenBatch } from "./batch.js";
import { checkSurrogate } from "./compare.js";

export const allAggregations = Object.keys(aggregations) as Aggregation[];
export const allEstimators = Object.keys(klEstimators) as KlEstimator[];

/** Every combination of the table that is not refused. */
export const legal = surrogateTable.combinations
  .filter(({ refusal }) => refusal === null)
  .map(({ choices }) => choices as { form: Form; level: Level; advantage: AdvantageUnit });

/** Limits and threshold within reach of the batches; dppo-tv's are differences of probabilities. */
export function reachable(form: Form): Partial<SurrogateOptions> {
  if (form === "clip" || form === "cispo") return { epsilon: 0.2, epsilonHigh: 0.28 };
  if (form === "gmpo") return { epsilon: 0.2, epsilonHigh: 0.3 };
  return form === "dppo-tv" ? { epsilon: 0.05, epsilonHigh: 0.1, ratioCap: 1.3 } : {};
}

/** One combination under every aggregation and every KL; under one of each on the emulator. */
function combinationCheck(device: Engine["device"], combination: (typeof legal)[number]): Check {
  const { form, level, advantage } = combination;
  const base = { form, level, ...reachable(form) };
  const run = (engine: Engine, options: SurrogateOptions, shape: BatchShape) =>
    checkSurrogate(engine, tokenBatch(options, { advantage, masked: true, ...shape }), options);
  return {
    family,
    name: `${form}, level ${level}, advantage per ${advantage}`,
    run(engine) {
      if (device === "emulated") {
        const options = aggregated("seq-mean-token-mean", { ...base, beta: 0.1 });
        return run(engine, options, { weighted: true });
      }
      return firstOf(
        ...allAggregations
          .filter((aggregation) => refuseAggregation(aggregation, advantage) === null)
          .map((aggregation, i) => run(engine, aggregated(aggregation, base), { seed: i })),
        ...allEstimators.map((klEstimator, i) =>
          run(engine, aggregated("token-mean", { ...base, beta: 0.1, klEstimator }), {
            weighted: true,
            seed: 10 + i,
          }),
        ),
      );
    },
  };
}

type Case = [name: string, options: Partial<SurrogateOptions>, shape?: BatchShape];

const mismatched = (Object.keys(mismatches) as Mismatch[]).filter((kind) => kind !== "none");

/** Every option beside form and level, at least once; all of them run on every device. */
const optionCases: Case[] = [
  ["delta 1.5", { delta: 1.5 }],
  ["dual clip 1.2", { dualClip: 1.2 }],
  ["delta 2 and dual clip 1.5", { delta: 2, dualClip: 1.5 }],
  ["dual clip below 1", { dualClip: 0.9 }],
  ["clip 0 (every moved token is clipped)", { epsilon: 0 }],
  ["clip 0.8/4", { epsilon: 0.8, epsilonHigh: 4 }],
  ["clip range that leaves 1 out", { clipRange: [1.1, 1.4] }],
  ["cispo with TRL's cap", { form: "cispo", clipRange: [0, 1.2] }],
  ["sapo with other temperatures", { form: "sapo", tauPositive: 3, tauNegative: 0.4 }],
  ["dppo-tv capped at 1.1", { form: "dppo-tv", ratioCap: 1.1 }],
  [
    "vespo with other exponents",
    {
      form: "vespo",
      level: "sequence-product",
      ...{ kPositive: 1, lambdaPositive: 0.5, kNegative: 0, lambdaNegative: 1 },
    },
  ],
  ["limits per row", {}, { limits: "row" }],
  ["limits per token", {}, { limits: "token" }],
  ["limits per row, cispo", { form: "cispo" }, { limits: "row" }],
  ["limits per token, dppo-tv", { form: "dppo-tv" }, { limits: "token" }],
  ["limits per row, level sequence", { level: "sequence" }, { limits: "row" }],
  ["limits per token, level segment", { level: "segment" }, { limits: "token" }],
  ["limits per token, gmpo", { form: "gmpo", level: "sequence" }, { limits: "token" }],
  ["log-ratios clamped from above", { logRatioClamp: [Number.NEGATIVE_INFINITY, 0.1] }],
  ...(Object.keys(levels) as Level[])
    .filter((level) => level !== "none")
    .map((level): Case => [`log-ratios clamped, ${level}`, { level, logRatioClamp: [-0.1, 0.2] }]),
  [
    "log-ratios clamped, gmpo",
    { form: "gmpo", level: "sequence", epsilon: 0.2, logRatioClamp: [-0.1, 0.3] },
  ],
  ["KL difference clamped", { beta: 0.3, klClamp: { difference: 0.4 } }],
  ["KL value clamped", { beta: 0.3, klEstimator: "k1", klClamp: { value: 0.2 } }],
  ["KL clamped, k3+", { beta: 0.3, klEstimator: "k3+", klClamp: { difference: 0.6, value: 0.1 } }],
  ...(Object.keys(levels) as Level[]).map(
    (level): Case => [`KL times the ratio, ${level}`, { level, beta: 0.3, klRatio: true }],
  ),
  ["KL times the ratio, k3+", { beta: 0.3, klRatio: true, klEstimator: "k3+" }],
  ["KL times the ratio, cispo", { form: "cispo", beta: 0.3, klRatio: true }],
  ...mismatched.map((mismatch): Case => [`mismatch ${mismatch}`, { mismatch }]),
  ...mismatched.map(
    (mismatch): Case => [
      `mismatch ${mismatch}, narrow, level sequence`,
      { mismatch, level: "sequence", mismatchLow: 0.8, mismatchHigh: 1.1 },
    ],
  ),
  ...mismatched.map(
    (mismatch): Case => [
      `mismatch ${mismatch} within vespo's ratio`,
      // A float: vespo takes its log once a token.
      { mismatch, form: "vespo", level: "sequence-product", mismatchHigh: 1.125 },
    ],
  ),
  ["mismatch without a ratio", { mismatch: "token-truncate", form: "reinforce", level: "none" }],
  ["off-policy rows dropped", { offPolicyThreshold: 0.05 }, { sampler: true }],
  ["off-policy rows dropped, no sampler", { offPolicyThreshold: 0.1, beta: 0.1 }],
  [
    "off-policy rows dropped, level sequence, advantage per token",
    { offPolicyThreshold: 0.05, level: "sequence-token" },
    { sampler: true, advantage: "token" },
  ],
  ["shaped rows", { beta: 0.1 }, { shaped: true }],
  ["shaped rows by the old policy", { shapeBase: "old", shapeGamma: 0.3 }, { shaped: true }],
  ["shaped rows, level sequence", { level: "sequence" }, { shaped: true }],
  ["shaped rows among segments", { level: "segment" }, { shaped: true, advantage: "segment" }],
  ["shaped rows without a ratio", { form: "reinforce", level: "none" }, { shaped: true }],
  [
    "shaped rows keep clear of mismatch, threshold and KL ratio",
    { mismatch: "sequence-truncate", offPolicyThreshold: 0.05, beta: 0.3, klRatio: true },
    { shaped: true },
  ],
  ["normalised ratios", {}, { normalised: true }],
  [
    "normalised ratios, sapo, clamped",
    { form: "sapo", logRatioClamp: [-0.2, 0.3] },
    { normalised: true },
  ],
  ["entropy bonus as the losses", { entropyCoefficient: 0.02 }, { entropy: true }],
  [
    "entropy bonus as a token mean",
    { entropyCoefficient: 0.02, entropyAggregation: "token-mean", level: "sequence" },
    { entropy: true },
  ],
  [
    "entropy bonus with a denominator",
    { entropyCoefficient: -0.5, entropyAggregation: "token-mean", entropyDenominator: 33 },
    { entropy: true },
  ],
  ["entropy without a bonus", {}, { entropy: true }],
];

const edgeCases: Case[] = [
  ["log-ratios of 0", { beta: 1 }, { spread: 0, refSpread: 0 }],
  // Here exp(d) - 1 - d in floats would be noise: the value is d^2 / 2.
  ["k3 of nearly equal policies", { beta: 1 }, { refSpread: 1e-3 }],
  ["k3 around its branch points", { beta: 1 }, { refSpread: 1 }],
  ["log-ratios of 10 and more", { beta: 1e-3 }, { spread: 10, refSpread: 10 }],
  ["sapo far from a ratio of 1", { form: "sapo" }, { spread: 2 }],
  ["vespo far from a ratio of 1", { form: "vespo", level: "sequence-product" }, { spread: 5 }],
  ["one token", { beta: 1 }, { lengths: [1] }],
  ["one token, level sequence", { beta: 1, level: "sequence" }, { lengths: [1] }],
  ["one token, level segment", { beta: 1, level: "segment" }, { lengths: [1] }],
  ["only empty rows", {}, { lengths: [0, 0, 0] }],
  ["only empty rows, level sequence", { level: "sequence" }, { lengths: [0, 0, 0] }],
  ["only empty rows, level segment", { level: "segment" }, { lengths: [0, 0, 0] }],
  ["no rows", {}, { lengths: [] }],
  ["no rows, level segment", { level: "segment" }, { lengths: [] }],
];

/** Denominators and counts of every aggregation. */
function aggregationChecks(): Check[] {
  const checks: Check[] = [];
  const add = (name: string, options: SurrogateOptions, shape: BatchShape = {}) =>
    checks.push(check(name, options, shape));
  for (const aggregation of allAggregations) {
    const options = aggregated(aggregation, { beta: 0.05 });
    add(`${aggregation}, masked and weighted`, options, { masked: true, weighted: true, seed: 6 });
    add(`${aggregation}, denominator given`, { ...options, denominator: 37.5 });
    add(`${aggregation}, no rows`, options, { lengths: [] });
    add(`${aggregation}, only empty rows`, options, { lengths: [0, 0, 0, 0] });
  }
  for (const aggregation of rowAggregations) {
    add(`${aggregation}, empty rows counted`, aggregated(aggregation, { emptyRows: "count" }));
  }
  for (const aggregation of groupedAggregations) {
    const options = aggregated(aggregation, { level: "sequence", beta: 0.1 });
    add(`${aggregation}, one group`, options, { groups: [10], masked: true });
    add(`${aggregation}, groups of one`, options, { groups: Array(10).fill(1), masked: true });
  }
  return checks;
}

function check(name: string, options: SurrogateOptions, shape: BatchShape): Check {
  return {
    family,
    name,
    run: (engine) => checkSurrogate(engine, tokenBatch(options, shape), options),
  };
}

/** Long rows and many rows, where reductions go over several blocks. */
function largeChecks(device: Engine["device"]): Check[] {
  const long = device === "emulated" ? [1500, 2, 700] : [40000, 2, 3000];
  const many = Array.from({ length: device === "emulated" ? 100 : 10000 }, (_, r) => r % 4);
  const kl = { epsilon: 0.2, epsilonHigh: 0.28, beta: 1 };
  const cases: Case[] = [
    ["long rows", {}, { lengths: long }],
    ["long rows, level sequence", { level: "sequence", ...kl }, { lengths: long }],
    ["long rows, level segment", { level: "segment", ...kl }, { lengths: long }],
    ["many short rows", kl, { lengths: many }],
    ["many short rows, level sequence-product", { level: "sequence-product" }, { lengths: many }],
  ];
  return cases.map(([name, options, shape]) =>
    check(name, aggregated("seq-mean-token-mean", options), { ...shape, masked: true }),
  );
}

/** Every legal combination, option and aggregation against float64. */
export function surrogateValueChecks(device: Engine["device"]): Check[] {
  const combinations =
    device === "emulated"
      ? legal.filter(({ form, level, advantage }) =>
          // Each form and level once, with the finest advantage that it takes.
          (["token", "segment", "row"] as const)
            .slice(0, ["token", "segment", "row"].indexOf(advantage))
            .every((finer) => refuseCombination(form, level, finer) !== null),
        )
      : legal;
  const shared = { masked: true, weighted: true, seed: 3 };
  return [
    ...combinations.map((combination) => combinationCheck(device, combination)),
    ...optionCases.map(([name, options, shape]) =>
      check(name, { ...options, aggregation: "token-mean" }, { ...shared, ...shape }),
    ),
    ...edgeCases.map(([name, options, shape]) =>
      check(name, { ...options, aggregation: "token-mean" }, shape ?? {}),
    ),
    ...aggregationChecks(),
    ...largeChecks(device),
  ];
}
