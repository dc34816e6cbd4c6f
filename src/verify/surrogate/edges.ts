import type { Engine, FaultReport } from "../../engine/engine.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import type { AdvantageUnit, Level } from "../../engine/kernels/surrogateTable.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits, zero } from "../compare.js";
import { faultsOf } from "../inputs.js";
import {
  aggregated,
  type BatchShape,
  call,
  family,
  perToken,
  range,
  type TokenBatch,
  tokenBatch,
} from "./batch.js";
import { allAggregations } from "./values.js";

/** A batch that has every input, and options that read them all. */
interface Rich {
  options: Partial<SurrogateOptions>;
  shape: BatchShape;
}
const rich: Record<string, Rich> = {
  "level token": {
    options: { beta: 0.1, mismatch: "sequence-truncate", entropyCoefficient: 0.1 },
    shape: { advantage: "token", limits: "token", normalised: true, entropy: true, weighted: true },
  },
  "level sequence": {
    options: { level: "sequence", beta: 0.1, mismatch: "token-mask", klRatio: true },
    shape: { limits: "row", entropy: true, weighted: true },
  },
  "level segment": {
    options: { form: "gmpo", level: "segment", beta: 0.1 },
    shape: { advantage: "segment", sampler: true, limits: "token", weighted: true },
  },
  "level sequence-token": {
    options: { level: "sequence-token", form: "sapo", beta: 0.1, offPolicyThreshold: 0.05 },
    shape: { sampler: true, weighted: true, shaped: true },
  },
  "level sequence-product": {
    options: { level: "sequence-product", form: "vespo", mismatch: "geometric-mask" },
    shape: { weighted: true },
  },
};

const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

/** NaN and infinities wherever nothing is trained: masked tokens, and rows, segments, groups of them. */
function soiled(b: TokenBatch): TokenBatch {
  const out: TokenBatch = { ...b };
  const idle = (begin: number, end: number) => range(begin, end).every((t) => b.mask![t] === 0);
  const soil = (x: Float32Array, untrained: (i: number) => boolean) =>
    x.map((value, i) => (untrained(i) ? filth[i % 3]! : value));
  const token = (t: number) => b.mask![t] === 0;
  const row = (r: number) => idle(b.rowOffsets[r]!, b.rowOffsets[r + 1]!);
  const segment = (s: number) => idle(b.segmentOffsets![s]!, b.segmentOffsets![s + 1]!);
  const group = (g: number) => range(b.groupOffsets![g]!, b.groupOffsets![g + 1]!).every(row);
  for (const name of perToken) {
    const values = b[name];
    if (values instanceof Float32Array) Object.assign(out, { [name]: soil(values, token) });
  }
  const limits = { rowLimits: row, tokenLimits: token };
  for (const name of ["rowLimits", "tokenLimits"] as const) {
    const both = b[name];
    if (both)
      out[name] = { low: soil(both.low, limits[name]), high: soil(both.high, limits[name]) };
  }
  if (b.advantage) out.advantage = soil(b.advantage, row);
  if (b.segmentAdvantage) out.segmentAdvantage = soil(b.segmentAdvantage, segment);
  if (b.groupWeight) out.groupWeight = soil(b.groupWeight, group);
  if (b.shaped) out.shaped = b.shaped.map((flag, r) => (row(r) ? 1 - flag : flag));
  return out;
}

/** Rows of one token and empty ones, so that some rows, segments and groups have nothing trained. */
const patchy = [5, 1, 1, 0, 1, 1, 9, 30, 1, 1, 1, 2];

function underMask(name: string, { options, shape }: Rich, more: SurrogateOptions): Check {
  return {
    family,
    name: `NaN and infinities under the mask change no bit, ${name}, ${more.aggregation}`,
    run(engine) {
      const all = { ...options, ...more };
      const b = tokenBatch(all, { ...shape, lengths: patchy, masked: true, seed: 9 });
      const { finding, faults } = faultsOf(engine, (own) => {
        const [clean, got] = [call(own, b, all), call(own, soiled(b), all)];
        const masked = (x: Float64Array | null) => x?.filter((_, t) => b.mask![t] === 0) ?? [];
        return firstOf(
          sameBits("dLogProb", got.bits, clean.bits),
          Object.is(got.loss, clean.loss) ? null : `loss: ${got.loss} instead of ${clean.loss}`,
          zero("masked dLogProb", masked(got.dLogProb)),
          zero("masked dEntropy", masked(got.dEntropy)),
          zero("masked dRatioBias", masked(got.dRatioBias)),
          zero("masked mismatchWeight", masked(got.mismatchWeight)),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

interface Fault {
  name: string;
  options: Partial<SurrogateOptions>;
  shape: BatchShape;
  spoil: (b: TokenBatch) => TokenBatch;
  /** Tokens that it takes out of the batch. */
  lost: readonly number[];
}

/** Rows of 4 and 5 tokens; token 6 is the third of the second row. */
const two = [4, 5];
const bad = 6;

function spoilt(name: keyof TokenBatch, at: number, value = Number.NaN) {
  return (b: TokenBatch): TokenBatch => ({
    ...b,
    [name]: (b[name] as Float32Array).map((x, i) => (i === at ? value : x)),
  });
}

function faultChecks(): Fault[] {
  const everything: BatchShape = {
    ...{ weighted: true, advantage: "token", normalised: true, sampler: true, entropy: true },
  };
  const one = (name: keyof TokenBatch, options = {}, shape = everything): Fault => ({
    ...{ name: `NaN in ${name}`, options: { beta: 0.1, ...options }, shape },
    ...{ spoil: spoilt(name, bad), lost: [bad] },
  });
  const limit = (b: TokenBatch): TokenBatch => ({
    ...b,
    tokenLimits: {
      ...b.tokenLimits!,
      high: b.tokenLimits!.high.map((x, t) => (t === bad ? Number.NaN : x)),
    },
  });
  const unit = (
    level: Level,
    lost: readonly number[],
    advantage: AdvantageUnit = "row",
  ): Fault => ({
    name: `NaN in logProb, level ${level}: its unit goes along`,
    options: { level, beta: 0.1 },
    shape: { advantage },
    spoil: (b) => spoilt("logProb", bad)({ ...b, ...(level === "segment" ? segments : {}) }),
    lost,
  });
  const segments = { segmentOffsets: Int32Array.of(0, 4, 5, 5, 8, 9) };
  const second = range(4, 9);
  return [
    ...perToken.filter((name) => name !== "mask").map((name) => one(name)),
    { ...one("logProb"), name: "NaN in a limit", shape: { limits: "token" }, spoil: limit },
    {
      ...one("logProb"),
      name: "inf - inf",
      spoil: (b) => spoilt("logProb", bad, -Infinity)(spoilt("oldLogProb", bad, -Infinity)(b)),
    },
    {
      ...one("logProb"),
      name: "a ratio of inf",
      shape: {},
      spoil: (b) =>
        spoilt("oldLogProb", bad, -Infinity)({ ...b, advantage: Float32Array.of(1, -1) }),
    },
    {
      ...one("advantage", {}, {}),
      name: "NaN in a row's advantage",
      spoil: spoilt("advantage", 1),
      lost: second,
    },
    { ...one("logProb"), name: "NaN in logProb of a shaped row", shape: { shaped: true } },
    unit("segment", [5, 6, 7]),
    unit("sequence", second),
    unit("sequence-product", second),
    unit("sequence-token", second, "token"),
    {
      ...unit("sequence", second),
      name: "NaN in a pooled unit's weight: its unit goes along",
      shape: { weighted: true },
      spoil: spoilt("weight", bad),
    },
    {
      ...one("groupWeight", { aggregation: "group-weighted", denominator: 2 }, { groups: [1, 1] }),
      ...{ spoil: spoilt("groupWeight", 1), lost: second },
    },
    {
      ...one("samplerLogProb", { mismatch: "sequence-mask" }, {}),
      name: "NaN in what the row's mismatch weight is made of: its row goes along",
      lost: second,
    },
    {
      ...one("samplerLogProb", { offPolicyThreshold: 0.1 }, { sampler: true }),
      name: "NaN in what the row's off-policy test is made of: its row goes along",
      lost: second,
    },
  ];
}

/** A fault contributes nothing and is reported; the rest of the batch is as if it were masked. */
function faultCheck({ name, options, shape, spoil, lost }: Fault): Check {
  return {
    family,
    name: `${name}: gradient 0, reported, others untouched`,
    run(engine) {
      // A sum: the other aggregations count faulty tokens as trained ones.
      const all = { ...aggregated("token-sum"), ...options };
      const b = spoil(tokenBatch(all, { ...shape, lengths: two }));
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = call(own, b, all);
        const mask = Uint8Array.from({ length: 9 }, (_, t) => (lost.includes(t) ? 0 : 1));
        const without = call(own, { ...b, mask }, all);
        return firstOf(
          sameBits("dLogProb", got.bits, without.bits),
          close("dEntropy", got.dEntropy ?? [], without.dEntropy ?? [], 0),
          close("loss", [got.loss], [without.loss], 1e-12 * Math.abs(without.loss)),
          close("ratioTokens", [got.metric("ratioTokens")], [without.metric("ratioTokens")], 0),
        );
      });
      return finding ?? reported(faults, lost.length);
    },
  };
}

function reported(faults: readonly FaultReport[], count: number): string | null {
  const right =
    faults.length > 0 &&
    faults.every((f) => f.kind === "not-a-number" && f.count === count && f.firstRow === 1);
  const found = `reported ${JSON.stringify(faults)} instead of ${count} times not-a-number in row 1`;
  return right ? null : found;
}

/** Nothing trained: nothing learned, whatever stands there. */
function allMasked(level: Level): Check[] {
  return allAggregations.map((aggregation) => ({
    family,
    name: `all masked: loss 0, gradient 0, ${aggregation}, level ${level}`,
    run(engine: Engine) {
      const options = aggregated(aggregation, { level, beta: 0.1, entropyCoefficient: 1 });
      const b = tokenBatch(options, { entropy: true });
      b.mask = new Uint8Array(b.logProb.length);
      b.logProb.fill(Number.NaN);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = call(own, b, options);
        return firstOf(
          zero("loss", [got.loss]),
          zero("dLogProb", got.dLogProb),
          zero("dEntropy", got.dEntropy!),
          zero("trainedTokens", [got.metric("trainedTokens")]),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  }));
}

/** One token with an exact log-ratio: what a limit and a missing stake mean. */
function exact(
  name: string,
  options: Partial<SurrogateOptions>,
  advantage: number,
  logRatio: number,
  want: number,
): Check {
  return {
    family,
    name,
    run(engine) {
      const b: TokenBatch = {
        logProb: Float32Array.of(logRatio - 1),
        oldLogProb: Float32Array.of(-1),
        advantage: Float32Array.of(advantage),
        rowOffsets: Int32Array.of(0, 1),
      };
      const got = call(engine, b, { ...options, aggregation: "token-sum" });
      return close("dLogProb", got.dLogProb, [want], 2e-7 * Math.abs(want));
    },
  };
}

const inf = Number.POSITIVE_INFINITY;
const limitChecks: Check[] = [
  exact("a limit belongs to the inside: its gradient passes, A = 2", { epsilon: 0 }, 2, 0, -2),
  exact("a limit belongs to the inside: its gradient passes, A = -2", { epsilon: 0 }, -2, 0, 2),
  exact(
    "a clamp's bound belongs to the inside: its gradient passes",
    { form: "unclipped", logRatioClamp: [-1, 0.5] },
    ...([1, 0.5, -Math.exp(0.5)] as const),
  ),
  exact(
    "beyond a clamp there is no gradient",
    { form: "unclipped", logRatioClamp: [-1, 0.5] },
    1,
    0.75,
    0,
  ),
  exact(
    "nothing is at stake where A is 0, even at a ratio of inf",
    { form: "unclipped" },
    0,
    inf,
    0,
  ),
  exact("a clipped ratio of inf has no gradient", {}, 1, inf, 0),
  exact("a ratio of 0 has no gradient", { form: "unclipped" }, 1, -inf, 0),
];

/** What stands where it must not, or at the very edge. */
export function surrogateEdgeChecks(device: Engine["device"]): Check[] {
  const aggregations = device === "emulated" ? (["token-mean"] as const) : allAggregations;
  return [
    ...Object.entries(rich).flatMap(([name, all]) =>
      aggregations
        .filter((kind) => kind !== "balanced" || (all.shape.advantage ?? "row") === "row")
        .map((kind) => underMask(name, all, aggregated(kind))),
    ),
    ...faultChecks().map(faultCheck),
    ...allMasked("token"),
    ...allMasked("sequence"),
    ...limitChecks,
  ];
}
