import type { SurrogateMetric } from "../../engine/kernels/surrogate.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import { klEstimate } from "../../reference/kl.js";
import { surrogate as reference } from "../../reference/surrogate.js";
import { type Check, firstOf } from "../check.js";
import { close } from "../compare.js";
import { type BatchShape, call, family, range, type TokenBatch, tokenBatch } from "./batch.js";
import { reachable } from "./values.js";

interface RowMetrics {
  tokens: number[];
  low: number[];
  high: number[];
}

/** What a form's limits are about, at each token. */
function judged(
  b: TokenBatch,
  options: SurrogateOptions,
  ratio: ArrayLike<number>,
  x: (t: number) => number,
): (t: number) => number {
  if (options.form === "gmpo") return x;
  if (options.form !== "dppo-tv") return (t) => ratio[t]!;
  return (t) => Math.exp(b.logProb[t]!) - Math.exp(b.oldLogProb![t]!);
}

/** Every metric but the losses straight from its definition, for plain log-ratios without faults. */
function definitions(
  b: TokenBatch,
  options: SurrogateOptions & { low: number; high: number },
): Partial<Record<SurrogateMetric, number>> {
  const { low, high, ...own } = options;
  const { ratio, mismatchWeight, dropped } = reference(b, own);
  const rows = range(0, b.rowOffsets.length - 1).map((r) =>
    range(b.rowOffsets[r]!, b.rowOffsets[r + 1]!).filter((t) => b.mask?.[t] !== 0),
  );
  const trained = rows.flat();
  const open = rows.filter((row, r) => row.length > 0 && b.shaped?.[r] !== 1);
  const tokens = open.flat();
  const rowOf = (t: number) => rows.findIndex((row) => row.includes(t));
  const advantage = (t: number) => b.tokenAdvantage?.[t] ?? b.advantage![rowOf(t)]!;
  const [least, most] = own.logRatioClamp ?? [-Infinity, Infinity];
  const free = (t: number) => (own.level === "none" ? 0 : b.logProb[t]! - b.oldLogProb![t]!);
  const x = (t: number) => Math.min(Math.max(free(t), least), most);
  const at = judged(b, own, ratio, x);
  const ofRow = (row: number[]): RowMetrics => ({
    tokens: row,
    low: row.filter((t) => at(t) < low && advantage(t) < 0),
    high: row.filter((t) => at(t) > high && advantage(t) > 0),
  });
  const byRow = open.map(ofRow);
  const share = (which: "low" | "high") =>
    byRow.map((row) => row[which].length / row.tokens.length);
  const add = (values: readonly number[]) => values.reduce((s, v) => s + v, 0);
  const rawWeight = (t: number) => Math.exp(b.oldLogProb![t]! - b.samplerLogProb![t]!);
  const differences =
    b.samplerLogProb && b.oldLogProb
      ? tokens.map((t) => Math.abs(b.oldLogProb![t]! - b.samplerLogProb![t]!))
      : [];
  const changed = (t: number) => Math.abs(mismatchWeight[t]! - rawWeight(t)) > 1e-6;
  return {
    trainedTokens: trained.length,
    activeRows: rows.filter((row) => row.length > 0).length,
    klSum: b.refLogProb
      ? add(trained.map((t) => klEstimate(b.logProb[t]!, b.refLogProb![t]!, "k3").value))
      : 0,
    entropySum: b.entropy ? add(trained.map((t) => b.entropy![t]!)) : 0,
    ratioTokens: tokens.length,
    ratioRows: open.length,
    clippedLow: add(byRow.map((row) => row.low.length)),
    clippedHigh: add(byRow.map((row) => row.high.length)),
    clippedLowRows: add(share("low")),
    clippedHighRows: add(share("high")),
    clippedLowRowMin: Math.min(...share("low")),
    clippedHighRowMax: Math.max(...share("high")),
    ratioSum: add(tokens.map((t) => ratio[t]!)),
    ratioMin: Math.min(...tokens.map((t) => ratio[t]!)),
    ratioMax: Math.max(...tokens.map((t) => ratio[t]!)),
    logRatioSquared: add(tokens.map((t) => x(t) ** 2 / 2)),
    clampedRatios: tokens.filter((t) => x(t) !== free(t)).length,
    mismatchSum: add(tokens.map((t) => mismatchWeight[t]!)),
    mismatchMin: Math.min(...tokens.map((t) => mismatchWeight[t]!)),
    mismatchMax: Math.max(...tokens.map((t) => mismatchWeight[t]!)),
    mismatchChanged: own.mismatch === undefined ? 0 : tokens.filter(changed).length,
    samplerDifferenceSum: add(differences),
    samplerDifferenceMax: Math.max(...differences),
    droppedRows: open.filter((row) => row.some((t) => dropped.has(t))).length,
  };
}

type Case = [
  name: string,
  options: Partial<SurrogateOptions>,
  limits: [low: number, high: number],
  shape?: BatchShape,
];

const none: [number, number] = [-Infinity, Infinity];
const cases: Case[] = [
  ["clip", { epsilon: 0.2, epsilonHigh: 0.28, beta: 0.1 }, [0.8, 1.28]],
  ["clip, advantage per token", { epsilon: 0.1 }, [0.9, 1.1], { advantage: "token" }],
  ["shaped rows are left out", { epsilon: 0.2, beta: 0.1 }, [0.8, 1.2], { shaped: true }],
  ["level sequence", { level: "sequence", epsilon: 0.1 }, [0.9, 1.1]],
  [
    "level sequence-token",
    { level: "sequence-token", epsilon: 0.1 },
    [0.9, 1.1],
    { sampler: true },
  ],
  ["log-ratios clamped", { logRatioClamp: [-0.2, 0.3], epsilon: 0.2 }, [0.8, 1.2]],
  [
    "mismatch truncated",
    { mismatch: "token-truncate", mismatchHigh: 1.2, epsilon: 0.2 },
    [0.8, 1.2],
  ],
  ["mismatch masked", { mismatch: "token-mask", mismatchLow: 0.8, epsilon: 0.2 }, [0.8, 1.2]],
  ["off-policy rows", { offPolicyThreshold: 0.05, form: "unclipped" }, none, { sampler: true }],
  ["entropy", { entropyCoefficient: 0.1, form: "sapo" }, none, { entropy: true }],
  ["no ratio", { form: "reinforce", level: "none", beta: 0.1 }, none],
  ["cispo", { form: "cispo", ...reachable("cispo") }, [0.8, 1.28]],
  ["gmpo", { form: "gmpo", level: "sequence", ...reachable("gmpo") }, [-0.2, 0.3]],
  ["dppo-tv", { form: "dppo-tv", ...reachable("dppo-tv") }, [-0.05, 0.1]],
];

/** Counts to the one, sums and extremes as far as floats go. */
export function surrogateMetricChecks(): Check[] {
  return cases.map(([name, options, [low, high], shape]) => ({
    family,
    name: `metrics, ${name}`,
    run(engine) {
      const all: SurrogateOptions = { ...options, aggregation: "token-mean" };
      const b = tokenBatch(all, { masked: true, seed: 3, ...shape });
      const got = call(engine, b, all);
      const want = definitions(b, { ...all, low, high });
      return firstOf(
        ...Object.entries(want).map(([metric, value]) =>
          close(
            metric,
            [got.metric(metric as SurrogateMetric)],
            [value],
            Number.isInteger(value) ? 0 : 1e-6 * Math.abs(value),
          ),
        ),
      );
    },
  }));
}
