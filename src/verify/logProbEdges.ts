import { logProb, logProbBackward } from "../engine/kernels/logProb.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { logProb as reference } from "../reference/logProb.js";
import { type Check, firstOf } from "./check.js";
import { close, values, zero } from "./compare.js";
import { type Float, faultsOf, Random } from "./inputs.js";
import {
  backward,
  checkBackward,
  checkForward,
  forward,
  type LogProbCase,
  makeCase,
  rowsOf,
} from "./logProb.js";
import { put, sameRows, wholeRow } from "./logProbBits.js";

const family = "log-prob";

/** A row that cannot be used: NaN out, gradient 0, the other rows untouched, reported once. */
function faulty(
  name: string,
  kind: "id-out-of-range" | "not-a-number" | "no-support",
  spoil: (c: LogProbCase) => LogProbCase,
): Check {
  return {
    family,
    name: `${name}: NaN, gradient 0, reported, no other row touched`,
    run(engine) {
      const c = makeCase({ tokens: 5, vocab: 40 });
      const bad = spoil(c);
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = forward(own, bad);
        return firstOf(
          close("logProb", values(got.logProb.rows(2, 3)), [Number.NaN], 0),
          close("entropy", values(got.entropy!.rows(2, 3)), [Number.NaN], 0),
          zero("dLogits", values(backward(own, bad).rows(2, 3))),
          sameRows(
            own,
            c,
            bad,
            [0, 1, 3, 4].map((t) => [t, t] as const),
          ),
        );
      });
      if (finding !== null) return finding;
      const wrong = faults.find((f) => f.kind !== kind || f.count !== 1 || f.firstRow !== 2);
      if (faults.length > 0 && wrong === undefined) return null;
      return `reported ${JSON.stringify(faults)} instead of ${kind} in row 2`;
    },
  };
}

function gradientCheck(temperature: number): Check {
  return {
    family,
    name: `gradient against central differences, temperature ${temperature}`,
    run(engine) {
      const c = makeCase({ tokens: 3, vocab: 17, temperature, masked: true, seed: 5 });
      const objective = (logits: Float64Array) => {
        const { logProb: l, entropy: h } = reference({ ...rowsOf(c), logits });
        return l.reduce((sum, x, t) => sum + x * c.dLogProb[t]! + h[t]! * c.dEntropy![t]!, 0);
      };
      const want = finiteDifference(objective, c.logits.numbers);
      // Differences of float64 are good to 1e-8 here; the rest is what f32 arithmetic may lose.
      return close("dLogits", values(backward(engine, c)), want, 3e-6 / temperature);
    },
  };
}

export function logProbEdgeChecks(): Check[] {
  const infinity = Number.POSITIVE_INFINITY;
  const floats = ["f32", "bf16", "f16"] as const;
  const withoutSome = (dtype: Float, vocab: number): LogProbCase => {
    const c = makeCase({ dtype, tokens: 4, vocab, seed: 9 });
    const random = new Random(10);
    const holes = Array.from({ length: 2 * vocab }, () => [
      random.integer(4),
      random.integer(vocab),
    ]);
    const kept = holes.filter(([row, v]) => v !== c.targets[row!]);
    return put(
      c,
      kept.map(([row, v]) => [row!, v!, -infinity]),
    );
  };
  return [
    ...floats.flatMap((dtype) => [
      ...[31, 4096].flatMap((vocab): Check[] => [
        {
          family,
          name: `forward ${dtype} V=${vocab} with -inf logits`,
          run: (engine) => checkForward(engine, withoutSome(dtype, vocab)),
        },
        {
          family,
          name: `backward ${dtype} V=${vocab} with -inf logits`,
          run: (engine) => checkBackward(engine, withoutSome(dtype, vocab), true),
        },
      ]),
    ]),
    gradientCheck(1),
    gradientCheck(0.5),
    gradientCheck(3),
    faulty("NaN logit", "not-a-number", (c) => put(c, [[2, 39, Number.NaN]])),
    faulty("+inf logit", "not-a-number", (c) => put(c, [[2, 0, infinity]])),
    faulty("all -inf", "no-support", (c) => wholeRow(c, 2, -infinity)),
    ...[-1, 40, 2 ** 31 - 1].map((id) =>
      faulty(`target ${id} of 40`, "id-out-of-range", (c) => ({
        ...c,
        targets: Int32Array.from(c.targets, (y, t) => (t === 2 ? id : y)),
      })),
    ),
    {
      family,
      name: "a target with logit -inf has log-prob -inf and is no fault",
      run(engine) {
        const c = makeCase({ tokens: 3, vocab: 40 });
        const cut = put(c, [[1, c.targets[1]!, -infinity]]);
        const { finding, faults } = faultsOf(engine, (own) =>
          firstOf(
            close("logProb", values(forward(own, cut).logProb.rows(1, 2)), [-infinity], 0),
            checkBackward(own, cut, false),
          ),
        );
        return finding ?? (faults.length === 0 ? null : `reported ${JSON.stringify(faults)}`);
      },
    },
    {
      family,
      name: "all masked: zeros, whatever stands there",
      run(engine) {
        const c = wholeRow(makeCase({ tokens: 3, vocab: 40 }), 1, Number.NaN);
        c.mask = new Uint8Array(3);
        const got = forward(engine, c);
        return firstOf(
          zero("logProb", values(got.logProb)),
          zero("entropy", values(got.entropy!)),
          zero("dLogits", values(backward(engine, c, true))),
        );
      },
    },
    {
      family,
      name: "equal logits: log-prob -log V, entropy log V",
      run(engine) {
        const logits = engine.tensor(new Float32Array(4096).fill(3.25), [1, 4096]);
        const { logProb: l, entropy } = logProb(engine, logits, [7], { entropy: true });
        return firstOf(
          close("logProb", values(l), [-Math.log(4096)], 2e-6),
          close("entropy", values(entropy!), [Math.log(4096)], 2e-6),
        );
      },
    },
    {
      family,
      name: "one certain token: log-prob and entropy 0, gradient 0",
      run(engine) {
        const logits = engine.tensor(Float32Array.from([0, 1e4, -1e4, 0]), [1, 4]);
        const got = logProb(engine, logits, [1], { entropy: true });
        const dLogits = logProbBackward(engine, {
          logits,
          targets: [1],
          stats: got.stats,
          dLogProb: [1],
          dEntropy: [1],
          entropy: got.entropy,
        });
        return firstOf(
          close("logProb", values(got.logProb), [0], 1e-6),
          close("entropy", values(got.entropy!), [0], 1e-6),
          close("dLogits", values(dLogits), [0, 0, 0, 0], 1e-6),
        );
      },
    },
  ];
}
