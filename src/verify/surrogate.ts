import type { Engine } from "../engine/engine.js";
import {
  aggregations,
  klEstimators,
  type SurrogateOptions,
  surrogate,
  surrogateMetrics,
} from "../engine/kernels/surrogate.js";
import { offsetsOf } from "../engine/ragged.js";
import {
  surrogate as reference,
  type SurrogateSetting,
  type SurrogateTokens,
  type SurrogateValues,
} from "../reference/surrogate.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, values } from "./compare.js";
import { Random } from "./inputs.js";

const family = "surrogate";

/** Rows of a batch: empty ones, single tokens, long ones. */
const lengths = [3, 0, 1, 17, 40, 5, 0, 64, 1, 9];

export interface TokenBatch {
  logProb: Float32Array;
  oldLogProb: Float32Array;
  refLogProb: Float32Array;
  advantage: Float32Array;
  advantagePerToken: boolean;
  weight: Float32Array | null;
  mask: Uint8Array | null;
  rowOffsets: Int32Array;
}

export interface BatchOptions {
  seed?: number;
  lengths?: readonly number[];
  perToken?: boolean;
  weighted?: boolean;
  masked?: boolean;
  /** Spread of the log-ratio; 0.3 puts tokens on both sides of the usual clip range. */
  spread?: number;
  /** Spread of the difference to the reference. */
  refSpread?: number;
}

export function tokenBatch(options: BatchOptions = {}): TokenBatch {
  const random = new Random(options.seed ?? 1);
  const rowOffsets = offsetsOf(options.lengths ?? lengths);
  const tokens = rowOffsets.at(-1)!;
  const logProb = random.normals(tokens).map((x) => -Math.abs(x) * 2);
  const near = (spread: number) => logProb.map((x) => x + spread * random.normal());
  const perToken = options.perToken ?? false;
  return {
    logProb,
    oldLogProb: near(options.spread ?? 0.3),
    refLogProb: near(options.refSpread ?? 0.5),
    advantage: random.normals(perToken ? tokens : rowOffsets.length - 1),
    advantagePerToken: perToken,
    weight: options.weighted ? random.normals(tokens).map(Math.abs) : null,
    mask: options.masked ? random.mask(tokens) : null,
    rowOffsets,
  };
}

export const plain: SurrogateSetting = {
  epsilon: 0.2,
  epsilonHigh: 0.28,
  delta: Number.POSITIVE_INFINITY,
  dualClip: Number.POSITIVE_INFINITY,
  beta: 0,
  klEstimator: "k3",
  aggregation: "token-mean",
};

export function optionsOf(setting: SurrogateSetting): SurrogateOptions {
  const { delta, dualClip, ...rest } = setting;
  return {
    ...rest,
    ...(Number.isFinite(delta) ? { delta } : {}),
    ...(Number.isFinite(dualClip) ? { dualClip } : {}),
  };
}

export function call(engine: Engine, b: TokenBatch, setting: SurrogateSetting) {
  const { advantage, advantagePerToken, ...rest } = b;
  const inputs = advantagePerToken
    ? { ...rest, tokenAdvantage: advantage }
    : { ...rest, advantage };
  const result = surrogate(engine, inputs, optionsOf(setting));
  const metrics = values(result.metrics);
  return {
    loss: values(result.loss)[0]!,
    dLogProb: values(result.dLogProb),
    bits: result.dLogProb.readSync(),
    metric: (name: (typeof surrogateMetrics)[number]) => metrics[surrogateMetrics.indexOf(name)]!,
  };
}

/**
 * Terms within 4e-7 relative (surrogate.h), of what the term is made of: the policy's and the KL's
 * gradient may cancel. Coefficient, weight and sum add a rounding each.
 */
function gradientTolerance(want: SurrogateValues): (t: number) => number {
  return (t) => {
    const parts = Math.abs(want.dPolicy[t]!) + Math.abs(want.dKl[t]!);
    return (4e-7 + 4 * F32_ROUNDING) * parts + 1e-37;
  };
}

export function checkSurrogate(
  engine: Engine,
  b: TokenBatch,
  setting: SurrogateSetting,
): string | null {
  const got = call(engine, b, setting);
  const want = reference(b as SurrogateTokens, setting);
  const sum = (what: string, a: number, x: number) =>
    close(what, [a], [x], 1e-6 * want.magnitude + 1e-300);
  return firstOf(
    sum("loss", got.loss, want.loss),
    sum("policyLoss", got.metric("policyLoss"), want.policyLoss),
    sum("klLoss", got.metric("klLoss"), want.klLoss),
    close("dLogProb", got.dLogProb, want.dLogProb, gradientTolerance(want)),
  );
}

/** Counts and extremes, straight from their definitions. */
export function checkMetrics(
  engine: Engine,
  b: TokenBatch,
  setting: SurrogateSetting,
): string | null {
  const got = call(engine, b, setting);
  const want = {
    trained: 0,
    active: 0,
    low: 0,
    high: 0,
    sum: 0,
    squares: 0,
    min: Infinity,
    max: -Infinity,
  };
  for (let r = 0; r + 1 < b.rowOffsets.length; ++r) {
    let trained = 0;
    for (let t = b.rowOffsets[r]!; t < b.rowOffsets[r + 1]!; ++t) {
      if (b.mask?.[t] === 0) continue;
      const d = b.logProb[t]! - b.oldLogProb[t]!;
      const advantage = b.advantage[b.advantagePerToken ? t : r]!;
      trained += 1;
      if (Math.exp(d) < 1 - setting.epsilon && advantage < 0) want.low += 1;
      if (Math.exp(d) > 1 + setting.epsilonHigh && advantage > 0) want.high += 1;
      want.sum += Math.exp(d);
      want.squares += (d * d) / 2;
      want.min = Math.min(want.min, Math.exp(d));
      want.max = Math.max(want.max, Math.exp(d));
    }
    want.trained += trained;
    want.active += trained > 0 ? 1 : 0;
  }
  const relative = (what: (typeof surrogateMetrics)[number], x: number) =>
    close(what, [got.metric(what)], [x], 1e-6 * Math.abs(x));
  return firstOf(
    close("trainedTokens", [got.metric("trainedTokens")], [want.trained], 0),
    close("activeRows", [got.metric("activeRows")], [want.active], 0),
    close("clippedLow", [got.metric("clippedLow")], [want.low], 0),
    close("clippedHigh", [got.metric("clippedHigh")], [want.high], 0),
    relative("ratioSum", want.sum),
    relative("ratioMin", want.min),
    relative("ratioMax", want.max),
    relative("logRatioSquaredSum", want.squares),
  );
}

const clips: [string, Partial<SurrogateSetting>][] = [
  ["clip 0.2/0.28", {}],
  ["delta 1.5", { delta: 1.5 }],
  ["dual clip 1.2", { dualClip: 1.2 }],
  ["delta 2 and dual clip 1.5", { delta: 2, dualClip: 1.5 }],
  ["clip 0 (every moved token is clipped)", { epsilon: 0, epsilonHigh: 0 }],
  ["clip 0.8/4", { epsilon: 0.8, epsilonHigh: 4 }],
];

export function settingOf(
  aggregation: SurrogateSetting["aggregation"],
  more: Partial<SurrogateSetting> = {},
): SurrogateSetting {
  const horizon = aggregation === "seq-mean-token-sum-norm" ? { horizon: 64 } : {};
  return { ...plain, ...more, aggregation, ...horizon };
}

/** Every aggregation x KL, every clip, ragged shapes, against float64. */
export function surrogateValueChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  const add = (name: string, b: BatchOptions, setting: SurrogateSetting) =>
    checks.push({ family, name, run: (engine) => checkSurrogate(engine, tokenBatch(b), setting) });
  for (const aggregation of aggregations) {
    add(aggregation, { masked: true }, settingOf(aggregation));
    add(`${aggregation}, denominator given`, {}, settingOf(aggregation, { denominator: 37.5 }));
    for (const klEstimator of klEstimators) {
      // An emulated launch costs a quarter of a second: there, each on its own.
      if (device === "emulated" && klEstimator !== "k3" && aggregation !== "token-mean") continue;
      const setting = settingOf(aggregation, { beta: 0.04, klEstimator });
      add(`${aggregation}, KL ${klEstimator}`, { masked: true, seed: 2 }, setting);
    }
  }
  for (const [name, more] of clips) {
    const all = { perToken: true, weighted: true, masked: true, seed: 3 };
    add(`${name}, advantage and weight per token`, all, { ...plain, ...more });
    checks.push({
      family,
      name: `metrics, ${name}`,
      run: (engine) => checkMetrics(engine, tokenBatch(all), { ...plain, ...more }),
    });
  }
  const kl = { ...plain, beta: 1, klEstimator: "k3" } as const;
  add("log-ratios of 0", { spread: 0, refSpread: 0 }, kl);
  // Here exp(d) - 1 - d in floats would be noise: the value is d^2 / 2.
  add("k3 of nearly equal policies", { refSpread: 1e-3 }, kl);
  add("k3 around its branch points", { refSpread: 1 }, kl);
  add("log-ratios of 10 and more", { spread: 10, refSpread: 10 }, { ...kl, beta: 1e-3 });
  add("one token", { lengths: [1] }, kl);
  add("only empty rows", { lengths: [0, 0, 0] }, plain);
  add("no rows", { lengths: [] }, plain);
  const long = device === "emulated" ? [1500, 2, 700] : [70000, 2, 30000];
  add("long rows", { lengths: long, masked: true }, settingOf("seq-mean-token-mean"));
  const many = Array.from({ length: device === "emulated" ? 100 : 20000 }, (_, r) => r % 4);
  add("many short rows", { lengths: many, masked: true }, settingOf("seq-mean-token-mean", kl));
  return checks;
}

/** Distance of a batch's ratios from every kink, for difference quotients. */
export function awayFromKinks(
  b: TokenBatch,
  setting: SurrogateSetting,
  margin: number,
): TokenBatch {
  const kinks = [1 - setting.epsilon, 1 + setting.epsilonHigh, setting.delta, setting.dualClip];
  const logs = kinks.filter((kink) => kink > 0 && Number.isFinite(kink)).map(Math.log);
  const oldLogProb = b.oldLogProb.map((old, t) => {
    const near = logs.some((kink) => Math.abs(b.logProb[t]! - old - kink) < margin);
    return near ? old + 3 * margin : old;
  });
  // abs has its kink where both policies agree.
  const refLogProb = b.refLogProb.map((ref, t) =>
    Math.abs(ref - b.logProb[t]!) < margin ? ref + 3 * margin : ref,
  );
  return { ...b, oldLogProb, refLogProb };
}
