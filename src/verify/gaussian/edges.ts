import type { Engine } from "../../engine/engine.js";
import { gaussianKl, gaussianLogProb } from "../../engine/kernels/gaussian.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, sameBits, values, zero } from "../compare.js";
import { faultsOf, Random, withThreads } from "../inputs.js";
import {
  callGaussian,
  type GaussianBatch,
  gaussianBatch,
  type Quantity,
  quantities,
} from "./values.js";

const family = "gaussian";

/** Some samples of a batch, in any order. */
function pickSamples(b: GaussianBatch, order: readonly number[]): GaussianBatch {
  const rows = <T extends Float32Array | Uint8Array>(x: T): T => {
    const out = x.slice(0, order.length * b.width) as T;
    for (const [i, s] of order.entries()) {
      out.set(x.subarray(s * b.width, (s + 1) * b.width), i * b.width);
    }
    return out;
  };
  return {
    value: rows(b.value),
    mean: rows(b.mean),
    std: Float32Array.from(order, (s) => b.std[s]!),
    mask: b.mask === null ? null : rows(b.mask),
    dOut: Float32Array.from(order, (s) => b.dOut[s]!),
    samples: order.length,
    width: b.width,
  };
}

/** Sample order[i] of `b` is sample i of the picked batch, bit for bit. */
export function samePicked(engine: Engine, b: GaussianBatch, order: readonly number[]) {
  const whole = callGaussian(engine, b, "log-prob", "mean");
  const some = callGaussian(engine, pickSamples(b, order), "log-prob", "mean");
  return firstOf(
    ...order.flatMap((s, i) => [
      identical(`logProb of ${s}`, some.out.rows(i, i + 1), whole.out.rows(s, s + 1)),
      identical(`dMean of ${s}`, some.dMean.rows(i, i + 1), whole.dMean.rows(s, s + 1)),
    ]),
  );
}

function underMask(quantity: Quantity): Check {
  return {
    family,
    name: `${quantity}: NaN and infinities under the mask change no bit`,
    run(engine) {
      const b = gaussianBatch(5, 70, { masked: true });
      const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
      const soil = (x: Float32Array) => x.map((v, i) => (b.mask![i] === 0 ? filth[i % 3]! : v));
      const dirty = { ...b, value: soil(b.value), mean: soil(b.mean) };
      const { finding, faults } = faultsOf(engine, (own) => {
        const clean = callGaussian(own, b, quantity, "mean");
        const got = callGaussian(own, dirty, quantity, "mean");
        return firstOf(
          identical(quantity, got.out, clean.out),
          identical("dMean", got.dMean, clean.dMean),
          zero(
            "masked dMean",
            values(got.dMean).filter((_, i) => b.mask![i] === 0),
          ),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

const allMasked: Check = {
  family,
  name: "a sample without valid elements gives 0 and gradient 0, whatever its std",
  run(engine) {
    const b = gaussianBatch(3, 9);
    b.mask = Uint8Array.from({ length: 27 }, (_, i) => (i < 9 || i >= 18 ? 1 : 0));
    b.value.fill(Number.NaN, 9, 18);
    b.std[1] = Number.NaN;
    const { finding, faults } = faultsOf(engine, (own) =>
      firstOf(
        ...quantities.flatMap((quantity) => {
          const got = callGaussian(own, b, quantity, "mean");
          return [
            zero(quantity, values(got.out.rows(1, 2))),
            zero("slope", values(got.slope.rows(1, 2))),
            zero("dMean", values(got.dMean.rows(1, 2))),
          ];
        }),
      ),
    );
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

/** A batch whose second sample is wrong: NaN there and reported, the others as without it. */
function fault(what: string, spoil: (b: GaussianBatch) => void): Check {
  return {
    family,
    name: `${what}: NaN, gradient 0, reported, others untouched`,
    run(engine) {
      const b = gaussianBatch(3, 40, { masked: true });
      b.mask!.fill(1, 40, 80);
      const clean = callGaussian(engine, b, "log-prob", "mean");
      spoil(b);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = callGaussian(own, b, "log-prob", "mean");
        return firstOf(
          close("logProb", values(got.out.rows(1, 2)), [Number.NaN], 0),
          zero("dMean", values(got.dMean.rows(1, 2))),
          ...[0, 2].flatMap((s) => [
            identical(`logProb of ${s}`, got.out.rows(s, s + 1), clean.out.rows(s, s + 1)),
            identical(`dMean of ${s}`, got.dMean.rows(s, s + 1), clean.dMean.rows(s, s + 1)),
          ]),
        );
      });
      if (finding !== null) return finding;
      const right = faults.every(
        (f) => f.kind === "not-a-number" && f.count === 1 && f.firstRow === 1,
      );
      return faults.length > 0 && right ? null : `reported ${JSON.stringify(faults)}`;
    },
  };
}

/**
 * GRPO-Guard (arXiv 2510.22319): with next = meanOld + s e the normalised log-ratio s (logProbNew -
 * logProbOld + bias), bias = KL of the means, is mean_d e (meanNew - meanOld), whatever s is.
 */
function guard(s: number): Check {
  return {
    family,
    name: `GRPO-Guard's normalised log-ratio does not depend on s = ${s}`,
    run(engine) {
      const random = new Random(3);
      const [samples, width] = [4, 60];
      const shape = [samples, width];
      const std = Math.fround(s);
      const e = random.normals(samples * width);
      const old = random.normals(samples * width);
      const fresh = old.map((m) => m + 0.1 * std * random.normal());
      const next = old.map((m, i) => m + std * e[i]!);
      const value = engine.tensor(next, shape);
      const mean = engine.tensor(fresh, shape);
      const refMean = engine.tensor(old, shape);
      const logProb = values(gaussianLogProb(engine, { value, mean, std }).logProb);
      const oldLogProb = values(gaussianLogProb(engine, { value, mean: refMean, std }).logProb);
      const bias = values(gaussianKl(engine, { mean, refMean, std }).kl);
      const got = logProb.map((lp, b) => std * (lp - oldLogProb[b]! + bias[b]!));
      // From the floats that the kernels saw: e as next has it.
      const want = got.map((_, b) => {
        let sum = 0;
        for (let i = b * width; i < (b + 1) * width; ++i) {
          sum += ((next[i]! - old[i]!) / std) * (fresh[i]! - old[i]!);
        }
        return sum / width;
      });
      // Each of the three is within 2e-7 of about 1 + |log s|.
      const tolerance = 2e-7 * std * 3 * (2 + Math.abs(Math.log(std)));
      return close("log-ratio", got, want, tolerance);
    },
  };
}

/** exp(s (logProbNew - logProbOld + bias)) of GRPO-Guard's and Flow-GRPO's own examples. */
const publishedRatios: Check = {
  family,
  name: "by hand: normalised ratios of GRPO-Guard",
  run(engine) {
    const pair = (x: number[]) => engine.tensor(x, [1, x.length]);
    const std = 0.5; // diffusion 1, sqrt(-dt) 0.5
    const [value, mean, refMean] = [pair([0.5, -0.5]), pair([0.4, 0.1]), pair([0, 0])] as const;
    const [logProb, oldLogProb] = [mean, refMean].map(
      (m) => values(gaussianLogProb(engine, { value, mean: m, std }).logProb)[0]!,
    ) as [number, number];
    const bias = values(gaussianKl(engine, { mean, refMean, std }).kl)[0]!;
    // A mean square difference of 0.02 at a std of 0.4 * 0.5, equal log-probs.
    const other = { mean: pair([Math.sqrt(0.02)]), refMean: pair([0]), std: 0.2 };
    const otherBias = values(gaussianKl(engine, other).kl)[0]!;
    return firstOf(
      close("bias", [bias], [0.17], 1e-7),
      close("ratio", [Math.exp(std * (logProb - oldLogProb + bias))], [1.161834242728283], 3e-7),
      close("ratio from a bias alone", [Math.exp(0.2 * otherBias)], [1.0512710963760241], 1e-7),
    );
  },
};

/** What must not change a bit, what is wrong, and what must hold between the functions. */
export function gaussianEdgeChecks(device: Engine["device"]): Check[] {
  const wide = device === "emulated" ? 5001 : 70_001;
  return [
    ...quantities.map(underMask),
    allMasked,
    fault("NaN in a value", (b) => b.value.fill(Number.NaN, 77, 78)),
    fault("infinity in a mean", (b) => b.mean.fill(Number.NEGATIVE_INFINITY, 40, 41)),
    fault("a difference that overflows", (b) => {
      b.value[50] = 3e38;
      b.mean[50] = -3e38;
    }),
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e-16].map((std) =>
      fault(`std ${std}`, (b) => b.std.fill(std, 1, 2)),
    ),
    publishedRatios,
    ...[0.01, 0.3, 2].map(guard),
    {
      family,
      name: "samples in another order, and fewer of them, give the same bits",
      run(engine) {
        const b = gaussianBatch(7, 131, { masked: true });
        return firstOf(
          samePicked(engine, b, new Random(2).permutation(7)),
          samePicked(engine, gaussianBatch(3, wide), [2]),
        );
      },
    },
    {
      family,
      name: "views of some samples give the same bits",
      run(engine) {
        // 33 elements: the views start at an address that is no multiple of a vector.
        const b = gaussianBatch(6, 33);
        const [value, mean] = [engine.tensor(b.value, [6, 33]), engine.tensor(b.mean, [6, 33])];
        const whole = gaussianLogProb(engine, { value, mean, std: b.std });
        const parts = [0, 1, 3, 6].map((end, i, all) => ({ begin: all[i - 1] ?? 0, end }));
        return firstOf(
          ...parts.map(({ begin, end }) => {
            const std = b.std.slice(begin, end);
            const args = { value: value.rows(begin, end), mean: mean.rows(begin, end), std };
            const { logProb } = gaussianLogProb(engine, args);
            return identical(`${begin} to ${end}`, logProb, whole.logProb.rows(begin, end));
          }),
        );
      },
    },
    {
      family,
      name: "one and two threads give the same bits",
      run(engine) {
        const b = gaussianBatch(3, wide, { masked: true });
        const [one, two] = withThreads(engine, (own) => {
          const got = callGaussian(own, b, "log-prob", "mean");
          return [got.out, got.slope, got.dMean].map((tensor) => tensor.readSync());
        });
        return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
      },
    },
  ];
}
