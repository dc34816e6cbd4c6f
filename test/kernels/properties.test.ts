import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { aggregations, klEstimators } from "../../src/engine/kernels/surrogate.js";
import { checkEdges, edgeBatch } from "../../src/verify/bernoulli.js";
import { sameBits } from "../../src/verify/compare.js";
import { checkGaussian, gaussianBatch, quantities, reductions } from "../../src/verify/gaussian.js";
import { samePicked } from "../../src/verify/gaussianEdges.js";
import * as groupNorm from "../../src/verify/groupNormBatch.js";
import { type Float, Random } from "../../src/verify/inputs.js";
import { backward, forward, type LogProbCase, makeCase } from "../../src/verify/logProb.js";
import { pick } from "../../src/verify/logProbBits.js";
import { call, checkSurrogate, settingOf, tokenBatch } from "../../src/verify/surrogate.js";
import { denominatorOf, part } from "../../src/verify/surrogateEdges.js";

// Properties that hold whatever the data: random shapes, options and splits, twenty of each.
const seeds = Array.from({ length: 20 }, (_, i) => i + 100);
const engine = new Engine({ device: "cpu", onFault: () => {} });
afterAll(() => engine.dispose());

function randomBatch(random: Random, seed: number) {
  const lengths = Array.from({ length: 1 + random.integer(12) }, () => random.integer(30));
  const weighted = random.uniform() < 0.5;
  const perToken = random.uniform() < 0.5;
  return tokenBatch({ seed, lengths, masked: random.uniform() < 0.7, weighted, perToken });
}

function randomSetting(random: Random) {
  const aggregation = aggregations[random.integer(aggregations.length)]!;
  const klEstimator = klEstimators[random.integer(klEstimators.length)]!;
  const epsilon = random.uniform();
  return settingOf(aggregation, {
    epsilon,
    epsilonHigh: epsilon * 2,
    delta: random.uniform() < 0.5 ? 3.5 : Number.POSITIVE_INFINITY,
    dualClip: random.uniform() < 0.5 ? 1.3 : Number.POSITIVE_INFINITY,
    beta: random.uniform() < 0.5 ? 0 : random.uniform(),
    klEstimator,
  });
}

describe("surrogate", () => {
  it.each(seeds)("agrees with float64 on random options (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = randomBatch(random, seed);
    expect(engine.scope(() => checkSurrogate(engine, b, randomSetting(random)))).toBeNull();
  });

  it.each(seeds)("micro-batches add up to the whole batch (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = randomBatch(random, seed);
    const setting = randomSetting(random);
    const rows = b.rowOffsets.length - 1;
    const cut = random.integer(rows + 1);
    const whole = engine.scope(() => call(engine, b, setting));
    const denominator = Math.max(denominatorOf(b, setting.aggregation), 1);
    const parts = [part(b, 0, cut), part(b, cut, rows)].map((p) =>
      engine.scope(() => call(engine, p, { ...setting, denominator })),
    );
    const gradient = Float32Array.from(parts.flatMap(({ bits }) => [...bits]));
    expect(sameBits("dLogProb", gradient, whole.bits)).toBeNull();
    expect(parts[0]!.loss + parts[1]!.loss).toBeCloseTo(whole.loss, 12);
  });

  it.each(seeds)("what stands under the mask changes no bit (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = { ...randomBatch(random, seed) };
    b.mask = random.mask(b.logProb.length, 0.5);
    const setting = randomSetting(random);
    const soiled = b.logProb.map((x, t) => (b.mask![t] === 0 ? Number.NaN : x));
    const clean = engine.scope(() => call(engine, b, setting));
    const dirty = engine.scope(() => call(engine, { ...b, logProb: soiled }, setting));
    expect(sameBits("dLogProb", dirty.bits, clean.bits)).toBeNull();
    expect(dirty.loss).toBe(clean.loss);
  });
});

describe("group-norm", () => {
  const make = (random: Random, seed: number) => {
    const lengths = Array.from({ length: 1 + random.integer(12) }, () => random.integer(30));
    const missing = ([undefined, "rows", "values"] as const)[random.integer(3)];
    const scattered = random.uniform() < 0.5;
    return groupNorm.batch({ seed, lengths, columns: 1 + random.integer(3), missing, scattered });
  };
  const settingOf = (random: Random) => ({
    ...groupNorm.combinations[random.integer(groupNorm.combinations.length)]!,
    ddof: random.integer(2),
    eps: random.uniform() < 0.3 ? 0 : random.uniform() * 1e-3,
    zeroScale: random.uniform() < 0.5 ? ("eps" as const) : ("one" as const),
    singleton: random.uniform() < 0.5 ? ("zero" as const) : ("value" as const),
    scopeBlend: random.uniform(),
    emaBlend: random.uniform(),
  });

  it.each(seeds)("agrees with float64 on random options (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = make(random, seed);
    expect(engine.scope(() => groupNorm.checkValues(engine, b, settingOf(random)))).toBeNull();
  });

  it.each(seeds)("any part of the groups gives the same bits (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = groupNorm.batch({
      seed,
      lengths: Array.from({ length: 9 }, () => random.integer(30)),
    });
    const setting = { ...settingOf(random), scope: "group" } as const;
    const cut = random.integer(9);
    const rows = b.lengths.slice(0, cut).reduce((sum, length) => sum + length, 0);
    const part = (first: number, last: number, from: number, to: number) => ({
      ...b,
      lengths: b.lengths.slice(first, last),
      values: b.values.slice(from, to),
      order: b.order.slice(0, to - from),
      ema: b.ema.slice(first, last),
    });
    const parts = [b, part(0, cut, 0, rows), part(cut, 9, rows, b.values.length)];
    const [whole, head, tail] = parts.map((p) =>
      engine.scope(() => groupNorm.call(engine, p, setting).advantage.readSync()),
    );
    expect(sameBits("advantage", Float32Array.from([...head!, ...tail!]), whole!)).toBeNull();
  });
});

describe("log-prob", () => {
  const make = (random: Random, seed: number): LogProbCase =>
    makeCase({
      dtype: (["f32", "bf16", "f16"] as Float[])[random.integer(3)],
      tokens: 1 + random.integer(9),
      vocab: 1 + random.integer(700),
      temperature: 0.3 + 2 * random.uniform(),
      masked: random.uniform() < 0.5,
      seed,
    });

  it.each(seeds)("any rows in any order give the same bits (seed %i)", (seed) => {
    const random = new Random(seed);
    const c = make(random, seed);
    const rows = c.targets.length;
    const order = random.permutation(rows).slice(0, 1 + random.integer(rows));
    const run = (some: LogProbCase) =>
      engine.scope(() => ({
        logProb: forward(engine, some).logProb.readSync(),
        dLogits: backward(engine, some, true).readSync(),
      }));
    const [whole, some] = [run(c), run(pick(c, order))];
    for (const [i, row] of order.entries()) {
      expect(some.logProb[i]).toBe(whole.logProb[row]);
      const got = some.dLogits.subarray(i * c.vocab, (i + 1) * c.vocab);
      const want = whole.dLogits.subarray(row * c.vocab, (row + 1) * c.vocab);
      expect(sameBits(`row ${row}`, got, want)).toBeNull();
    }
  });

  it.each(seeds)("gradients of a row add up to 0 (seed %i)", (seed) => {
    const random = new Random(seed);
    const c = { ...make(random, seed), mask: null };
    if (c.dtype !== "f32") return; // 16-bit gradients are rounded one by one
    const dLogits = engine.scope(() => backward(engine, c).readSync());
    for (let t = 0; t < c.targets.length; ++t) {
      const row = dLogits.subarray(t * c.vocab, (t + 1) * c.vocab) as Float32Array;
      expect(Math.abs(row.reduce((sum, x) => sum + x, 0))).toBeLessThan(2e-5 / c.temperature);
    }
  });
});

describe("gaussian", () => {
  const make = (random: Random, seed: number) =>
    gaussianBatch(1 + random.integer(9), 1 + random.integer(900), {
      seed,
      masked: random.uniform() < 0.5,
      away: Math.exp(4 * random.normal()),
    });

  it.each(seeds)("agrees with float64 on random shapes (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = make(random, seed);
    const quantity = quantities[random.integer(quantities.length)]!;
    const reduction = reductions[random.integer(reductions.length)]!;
    expect(engine.scope(() => checkGaussian(engine, b, quantity, reduction))).toBeNull();
  });

  it.each(seeds)("any samples in any order give the same bits (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = make(random, seed);
    const order = random.permutation(b.samples).slice(0, 1 + random.integer(b.samples));
    expect(engine.scope(() => samePicked(engine, b, order))).toBeNull();
  });
});

describe("bernoulli", () => {
  it.each(seeds)("agrees with float64 on random edges (seed %i)", (seed) => {
    const random = new Random(seed);
    const b = edgeBatch({
      seed,
      lengths: Array.from({ length: random.integer(9) }, () => random.integer(40)),
      masked: random.uniform() < 0.5,
      spread: Math.exp(3 * random.normal()),
      apart: Math.exp(5 * random.normal()),
      temperature: 0.3 + 2 * random.uniform(),
    });
    expect(engine.scope(() => checkEdges(engine, b))).toBeNull();
  });
});
