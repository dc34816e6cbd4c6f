import type { Engine } from "../engine/engine.js";
import { aggregations, klEstimators } from "../engine/kernels/surrogate.js";
import { offsetsOf } from "../engine/ragged.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { type SurrogateSetting, type SurrogateTokens, surrogate } from "../reference/surrogate.js";
import { type Check, firstOf } from "./check.js";
import { close, sameBits, zero } from "./compare.js";
import { faultsOf, Random, withThreads } from "./inputs.js";
import { awayFromKinks, call, plain, settingOf, type TokenBatch, tokenBatch } from "./surrogate.js";

const family = "surrogate";
const everything: SurrogateSetting = { ...plain, delta: 1.6, dualClip: 1.9, beta: 0.1 };

function gradientCheck(setting: SurrogateSetting): Check {
  return {
    family,
    name: `gradient against central differences, ${setting.aggregation}, KL ${setting.klEstimator}`,
    run(engine) {
      const made = tokenBatch({ masked: true, weighted: true, lengths: [7, 0, 12, 1], seed: 4 });
      const b = awayFromKinks(made, setting, 1e-3);
      const base = { ...b } as SurrogateTokens;
      // "k3+" declares k2's gradient for k3's value; all others are the derivative of their value.
      const moved =
        setting.klEstimator === "k3+" ? { ...setting, klEstimator: "k2" as const } : setting;
      const want = finiteDifference(
        (logProb) => surrogate({ ...base, logProb }, moved).loss,
        b.logProb,
      );
      return close("dLogProb", call(engine, b, setting).dLogProb, want, 2e-6);
    },
  };
}

/** The rows begin .. end of a batch as a batch of their own. */
export function part(b: TokenBatch, begin: number, end: number): TokenBatch {
  const [first, last] = [b.rowOffsets[begin]!, b.rowOffsets[end]!];
  return {
    logProb: b.logProb.slice(first, last),
    oldLogProb: b.oldLogProb.slice(first, last),
    refLogProb: b.refLogProb.slice(first, last),
    advantage: b.advantagePerToken ? b.advantage.slice(first, last) : b.advantage.slice(begin, end),
    advantagePerToken: b.advantagePerToken,
    weight: b.weight?.slice(first, last) ?? null,
    mask: b.mask?.slice(first, last) ?? null,
    rowOffsets: b.rowOffsets.slice(begin, end + 1).map((offset) => offset - first),
  };
}

/** Trained tokens, or rows that have one: what micro-batches must be told about the whole. */
export function denominatorOf(b: TokenBatch, aggregation: SurrogateSetting["aggregation"]): number {
  let [trained, active] = [0, 0];
  for (let r = 0; r + 1 < b.rowOffsets.length; ++r) {
    let own = 0;
    for (let t = b.rowOffsets[r]!; t < b.rowOffsets[r + 1]!; ++t) own += b.mask?.[t] ?? 1;
    trained += own;
    active += own > 0 ? 1 : 0;
  }
  return aggregation === "token-sum" ? 1 : aggregation === "token-mean" ? trained : active;
}

function microBatches(aggregation: SurrogateSetting["aggregation"]): Check {
  return {
    family,
    name: `micro-batches add up to the whole batch, ${aggregation}`,
    run(engine) {
      const b = tokenBatch({ masked: true, weighted: true, seed: 6 });
      const setting = settingOf(aggregation, { beta: 0.1 });
      const whole = call(engine, b, setting);
      const denominator = denominatorOf(b, aggregation);
      const bounds = [0, 1, 4, 4, 10];
      const parts = bounds
        .slice(1)
        .map((end, i) => call(engine, part(b, bounds[i]!, end), { ...setting, denominator }));
      const loss = parts.reduce((sum, { loss }) => sum + loss, 0);
      const gradient = Float32Array.from(parts.flatMap(({ bits }) => [...bits]));
      // A given denominator is a double, as the counted one is: the coefficients have the same bits.
      return firstOf(
        close("loss", [loss], [whole.loss], 1e-12 * Math.abs(whole.loss) + 1e-15),
        sameBits("dLogProb", gradient, whole.bits),
      );
    },
  };
}

const permutation: Check = {
  family,
  name: "rows in another order: the same bits of gradient, the same loss",
  run(engine) {
    const b = tokenBatch({ masked: true, weighted: true, seed: 7 });
    const setting = settingOf("seq-mean-token-mean", everything);
    const rows = b.rowOffsets.length - 1;
    const order = new Random(8).permutation(rows);
    const parts = order.map((row) => part(b, row, row + 1));
    const joined = (pick: (p: TokenBatch) => Iterable<number>) =>
      parts.flatMap((p) => [...pick(p)]);
    const shuffled: TokenBatch = {
      logProb: Float32Array.from(joined((p) => p.logProb)),
      oldLogProb: Float32Array.from(joined((p) => p.oldLogProb)),
      refLogProb: Float32Array.from(joined((p) => p.refLogProb)),
      advantage: Float32Array.from(joined((p) => p.advantage)),
      advantagePerToken: false,
      weight: Float32Array.from(joined((p) => p.weight!)),
      mask: Uint8Array.from(joined((p) => p.mask!)),
      rowOffsets: offsetsOf(parts.map((p) => p.logProb.length)),
    };
    const [straight, got] = [call(engine, b, setting), call(engine, shuffled, setting)];
    const want = order.flatMap((row) => [
      ...straight.bits.subarray(b.rowOffsets[row]!, b.rowOffsets[row + 1]!),
    ]);
    return firstOf(
      sameBits("dLogProb", got.bits, Float32Array.from(want)),
      close("loss", [got.loss], [straight.loss], 1e-12 * Math.abs(straight.loss)),
    );
  },
};

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const b = tokenBatch({ masked: true, lengths: [3000, 1, 0, 5000, 700] });
    const setting = settingOf("seq-mean-token-mean", everything);
    const [one, two] = withThreads(engine, (own) => call(own, b, setting));
    return firstOf(
      sameBits("dLogProb", one.bits, two.bits),
      Object.is(one.loss, two.loss) ? null : `loss: ${one.loss} and ${two.loss}`,
    );
  },
};

const underMask: Check = {
  family,
  name: "NaN and infinities under the mask change no bit",
  run(engine) {
    const b = tokenBatch({ masked: true, weighted: true, perToken: true, seed: 9 });
    const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    const soil = (x: Float32Array) => x.map((v, t) => (b.mask![t] === 0 ? filth[t % 3]! : v));
    const dirty: TokenBatch = {
      ...b,
      logProb: soil(b.logProb),
      oldLogProb: soil(b.oldLogProb),
      refLogProb: soil(b.refLogProb),
      advantage: soil(b.advantage),
      weight: soil(b.weight!),
    };
    const setting = settingOf("seq-mean-token-mean", everything);
    const { finding, faults } = faultsOf(engine, (own) => {
      const [clean, got] = [call(own, b, setting), call(own, dirty, setting)];
      return firstOf(
        sameBits("dLogProb", got.bits, clean.bits),
        Object.is(got.loss, clean.loss) ? null : `loss: ${got.loss} instead of ${clean.loss}`,
        zero(
          "masked dLogProb",
          got.dLogProb.filter((_, t) => b.mask![t] === 0),
        ),
      );
    });
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

function fault(name: "logProb" | "oldLogProb" | "refLogProb" | "advantage" | "weight"): Check {
  return {
    family,
    name: `NaN in ${name} of a trained token: gradient 0, reported, others untouched`,
    run(engine) {
      const b = tokenBatch({ weighted: true, perToken: true, lengths: [4, 5] });
      const spoilt = b[name]!.map((x, t) => (t === 6 ? Number.NaN : x));
      const setting = settingOf("token-sum", everything);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = call(own, { ...b, [name]: spoilt }, setting);
        const mask = Uint8Array.from({ length: 9 }, (_, t) => (t === 6 ? 0 : 1));
        const without = call(own, { ...b, mask }, setting);
        return firstOf(
          sameBits("dLogProb", got.bits, without.bits),
          close("loss", [got.loss], [without.loss], 1e-12 * Math.abs(without.loss)),
        );
      });
      if (finding !== null) return finding;
      const right =
        faults.length > 0 && faults.every((f) => f.kind === "not-a-number" && f.count === 1);
      return right ? null : `reported ${JSON.stringify(faults)} instead of one not-a-number`;
    },
  };
}

export function surrogateEdgeChecks(): Check[] {
  return [
    ...aggregations.map(microBatches),
    ...aggregations.map((aggregation) => gradientCheck(settingOf(aggregation, everything))),
    ...klEstimators
      .filter((klEstimator) => klEstimator !== everything.klEstimator)
      .map((klEstimator) => gradientCheck({ ...everything, klEstimator })),
    permutation,
    threads,
    underMask,
    ...(["logProb", "oldLogProb", "refLogProb", "advantage", "weight"] as const).map(fault),
    ...aggregations.map(
      (aggregation): Check => ({
        family,
        name: `all masked: loss 0, gradient 0, ${aggregation}`,
        run(engine: Engine) {
          const b = tokenBatch();
          b.mask = new Uint8Array(b.logProb.length);
          b.logProb.fill(Number.NaN);
          const got = call(engine, b, settingOf(aggregation, everything));
          return firstOf(zero("loss", [got.loss]), zero("dLogProb", got.dLogProb));
        },
      }),
    ),
    {
      family,
      name: "clip bounds belong to the inside: their gradient passes",
      run(engine) {
        // log-ratios are exact: 0 is the bound of epsilon 0 from both sides.
        const ask = (advantage: number) =>
          call(
            engine,
            { ...tokenBatch({ lengths: [1], spread: 0 }), advantage: Float32Array.of(advantage) },
            { ...plain, epsilon: 0, epsilonHigh: 0 },
          ).dLogProb;
        return firstOf(
          close("dLogProb, A = 2", ask(2), [-2], 0),
          close("dLogProb, A = -2", ask(-2), [2], 0),
        );
      },
    },
  ];
}
