import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { SurrogateOptions } from "../../src/engine/kernels/surrogateArguments.js";
import { refuseAggregation, refuseKlRatio } from "../../src/engine/kernels/surrogateTable.js";
import { temperatureOf } from "../../src/reference/logProb.js";
import { checkEdges, edgeBatch } from "../../src/verify/bernoulli/values.js";
import { sameBits } from "../../src/verify/compare.js";
import { samePicked } from "../../src/verify/gaussian/edges.js";
import {
  checkGaussian,
  gaussianBatch,
  quantities,
  reductions,
} from "../../src/verify/gaussian/values.js";
import * as groupNorm from "../../src/verify/groupNorm/batch.js";
import { type Float, Random } from "../../src/verify/inputs.js";
import { pick } from "../../src/verify/logProb/bits.js";
import {
  backward,
  compareBackward,
  compareForward,
  forward,
  type LogProbCase,
  makeCase,
} from "../../src/verify/logProb/cases.js";
import { shardedBackward, shardedForward } from "../../src/verify/logProb/shards.js";
import { aggregated, call, type TokenBatch, tokenBatch } from "../../src/verify/surrogate/batch.js";
import { cut, partOptions } from "../../src/verify/surrogate/bits.js";
import { checkSurrogate } from "../../src/verify/surrogate/compare.js";
import {
  allAggregations,
  allEstimators,
  legal,
  reachable,
} from "../../src/verify/surrogate/values.js";

// Properties that hold whatever the data: random shapes, options and splits, twenty of each.
const seeds = Array.from({ length: 20 }, (_, i) => i + 100);
const engine = new Engine({ device: "cpu", onFault: () => {} });
afterAll(() => engine.dispose());

/** A legal combination under random options, with a batch for it. */
function randomCall(seed: number): { b: TokenBatch; options: SurrogateOptions; random: Random } {
  const random = new Random(seed);
  const oneOf = <T>(values: readonly T[]) => values[random.integer(values.length)]!;
  const either = () => random.uniform() < 0.5;
  const { form, level, advantage } = oneOf(legal);
  const beta = either() ? 0 : random.uniform();
  const options = aggregated(
    oneOf(allAggregations.filter((kind) => refuseAggregation(kind, advantage) === null)),
    {
      ...{ form, level, beta, ...reachable(form) },
      ...(beta > 0 && { klEstimator: oneOf(allEstimators) }),
      ...(beta > 0 && refuseKlRatio(form) === null && { klRatio: either() }),
      ...(form === "clip" && either() && { delta: 3.5 }),
      ...(form === "clip" && either() && { dualClip: 1.3 }),
      ...(level !== "none" && either() && { logRatioClamp: [-0.4, 0.5] as const }),
      ...(either() && { mismatch: oneOf(["token-truncate", "sequence-mask"] as const) }),
    },
  );
  const b = tokenBatch(options, {
    ...{ seed, advantage, masked: random.uniform() < 0.7, weighted: either(), shaped: either() },
    lengths: Array.from({ length: 1 + random.integer(12) }, () => random.integer(30)),
  });
  return { b, options, random };
}

describe("surrogate", () => {
  it.each(seeds)("agrees with float64 on random options (seed %i)", (seed) => {
    const { b, options } = randomCall(seed);
    expect(engine.scope(() => checkSurrogate(engine, b, options))).toBeNull();
  });

  it.each(seeds)("micro-batches add up to the whole batch (seed %i)", (seed) => {
    const { b, options, random } = randomCall(seed);
    const whole = engine.scope(() => call(engine, b, options));
    const parts = cut(b, random, 1).map((part) =>
      engine.scope(() => call(engine, part, partOptions(b, options))),
    );
    const gradient = Float32Array.from(parts.flatMap(({ bits }) => [...bits]));
    expect(sameBits("dLogProb", gradient, whole.bits)).toBeNull();
    const loss = parts.reduce((sum, part) => sum + part.loss, 0);
    expect(Math.abs(loss - whole.loss)).toBeLessThan(1e-12 * Math.max(1, Math.abs(whole.loss)));
  });

  it.each(seeds)("what stands under the mask changes no bit (seed %i)", (seed) => {
    const { b, options, random } = randomCall(seed);
    b.mask = random.mask(b.logProb.length, 0.5);
    const soiled = b.logProb.map((x, t) => (b.mask![t] === 0 ? Number.NaN : x));
    const clean = engine.scope(() => call(engine, b, options));
    const dirty = engine.scope(() => call(engine, { ...b, logProb: soiled }, options));
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
      temperature: random.uniform() < 0.5 ? "rows" : 0.3 + 2 * random.uniform(),
      masked: random.uniform() < 0.5,
      padding: random.integer(3) * random.integer(20),
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
        dLogits: backward(engine, some).readSync(),
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
      const temperature = temperatureOf(c, t);
      expect(Math.abs(row.reduce((sum, x) => sum + x, 0))).toBeLessThan(2e-5 / temperature);
    }
  });

  it.each(seeds)("any shards of the vocabulary give the whole's results (seed %i)", (seed) => {
    const random = new Random(seed);
    const c = make(random, seed);
    const cuts = Array.from({ length: random.integer(6) }, () => random.integer(c.vocab));
    const bounds = [...new Set([0, ...cuts, c.vocab])].sort((a, b) => a - b);
    engine.scope(() => {
      const merged = shardedForward(engine, c, bounds);
      expect(compareForward(engine, c, merged)).toBeNull();
      expect(compareBackward(c, shardedBackward(engine, c, bounds, merged))).toBeNull();
    });
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
