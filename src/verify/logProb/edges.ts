import type { FaultReport } from "../../engine/engine.js";
import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { logProb as reference, temperatureOf } from "../../reference/logProb.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, values, zero } from "../compare.js";
import { type Float, faultsOf, Random } from "../inputs.js";
import { put, sameRows, wholeRow } from "./bits.js";
import {
  backward,
  checkBackward,
  checkForward,
  forward,
  type LogProbCase,
  makeCase,
  rowsOf,
  upload,
} from "./cases.js";

const family = "log-prob";

/** A row that cannot be used: NaN out, gradient 0, the other rows untouched, reported once. */
function faulty(
  name: string,
  kind: FaultReport["kind"],
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
          close("vocabMean", values(got.vocabMean!.rows(2, 3)), [Number.NaN], 0),
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

/** As `faulty`; only a tensor can bring a temperature out of range to the device. */
function badTemperature(value: number): Check {
  return {
    family,
    name: `a temperature of ${value}: NaN, gradient 0, reported, no other row touched`,
    run(engine) {
      const c = makeCase({ tokens: 5, vocab: 40, temperature: "rows" });
      const { dLogProb, targets } = c;
      const { finding, faults } = faultsOf(engine, (own) => {
        const bad = (c.temperature as Float32Array).map((x, t) => (t === 2 ? value : x));
        const [logits, temperature] = [upload(own, c), own.tensor(bad)];
        const good = forward(own, c, logits);
        const got = logProb(own, logits, targets, { temperature, entropy: true, vocabMean: true });
        // Also where the forward pass had another temperature, and its statistics are numbers.
        const [usual, late, want] = [
          { temperature, stats: got.stats },
          { temperature, stats: good.stats },
          { temperature: c.temperature, stats: good.stats },
        ].map((how) => logProbBackward(own, { logits, targets, dLogProb, ...how }));
        return firstOf(
          ...[got.logProb, got.entropy!, got.vocabMean!].map((x, i) =>
            close(`output ${i}`, values(x.rows(2, 3)), [Number.NaN], 0),
          ),
          zero("dLogits", values(usual!.rows(2, 3))),
          zero("dLogits with good statistics", values(late!.rows(2, 3))),
          ...[0, 1, 3, 4].flatMap((t) => [
            identical(`logProb ${t}`, got.logProb.rows(t, t + 1), good.logProb.rows(t, t + 1)),
            identical(`dLogits ${t}`, usual!.rows(t, t + 1), want!.rows(t, t + 1)),
            identical(`dLogits ${t}`, late!.rows(t, t + 1), want!.rows(t, t + 1)),
          ]),
        );
      });
      if (finding !== null) return finding;
      // Once by the forward pass, once by the backward pass that had to see it for itself.
      const told = faults.map((f) => `${f.call} ${f.kind} ${f.count} ${f.firstRow}`).join(", ");
      const kind = "parameter-out-of-range 1 2";
      const expected = `log_prob ${kind}, log_prob_backward ${kind}`;
      return told === expected ? null : `reported ${told} instead of ${expected}`;
    },
  };
}

function gradientCheck(temperature: number | "rows"): Check {
  return {
    family,
    name: `gradient against central differences, temperature ${temperature === "rows" ? "of each row" : temperature}`,
    run(engine) {
      const c = makeCase({ tokens: 3, vocab: 17, temperature, masked: true, seed: 5 });
      const objective = (logits: Float64Array) => {
        const { logProb: l, entropy: h, vocabMean: m } = reference({ ...rowsOf(c), logits });
        const of = (t: number) =>
          l[t]! * c.dLogProb![t]! + h[t]! * c.dEntropy![t]! + m[t]! * c.dVocabMean![t]!;
        return l.reduce((sum, _, t) => sum + of(t), 0);
      };
      const want = finiteDifference(objective, c.logits.numbers);
      // Differences of float64 are good to 1e-8 here; the rest is what f32 arithmetic may lose.
      const tolerance = (i: number) => 3e-6 / temperatureOf(rowsOf(c), Math.floor(i / c.vocab));
      return close("dLogits", values(backward(engine, c)), want, tolerance);
    },
  };
}

/** Rows of which one token has all but 1e-9 or 1e-17 of the probability: p rounds to 1. */
function peaked(dtype: Float): Check[] {
  return [30, 50].flatMap((height): Check[] => {
    const make = () => {
      const c = makeCase({ dtype, tokens: 4, vocab: 300, seed: 8 });
      // The target in two rows, another token in the others.
      return put(
        c,
        [0, 1, 2, 3].map((t) => [t, t < 2 ? c.targets[t]! : (c.targets[t]! + 1) % 300, height]),
      );
    };
    return [
      {
        family,
        name: `forward ${dtype}, one token ${height} above the rest`,
        run: (engine) => checkForward(engine, make()),
      },
      {
        family,
        name: `backward ${dtype}, one token ${height} above the rest`,
        run: (engine) => checkBackward(engine, make(), false),
      },
    ];
  });
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
    gradientCheck("rows"),
    ...floats.flatMap((dtype) => peaked(dtype)),
    ...[0, -1, Number.NaN, infinity, 1e31, 1e-31].map(badTemperature),
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
      name: "a logit of -inf makes the vocabulary mean -inf, without gradient and no fault",
      run(engine) {
        const c = put(makeCase({ tokens: 3, vocab: 40, logProb: false, entropy: false }), [
          [1, 7, -infinity],
        ]);
        const { finding, faults } = faultsOf(engine, (own) =>
          firstOf(
            close("vocabMean", values(forward(own, c).vocabMean!.rows(1, 2)), [-infinity], 0),
            zero("dLogits", values(backward(own, c).rows(1, 2))),
            checkForward(own, c),
            checkBackward(own, c, false),
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
          zero("vocabMean", values(got.vocabMean!)),
          zero("dLogits", values(backward(engine, c, true))),
        );
      },
    },
    {
      family,
      name: "equal logits: log-prob -log V, entropy log V",
      run(engine) {
        const logits = engine.tensor(new Float32Array(4096).fill(3.25), [1, 4096]);
        const asked = { entropy: true, vocabMean: true };
        const { logProb: l, entropy, vocabMean } = logProb(engine, logits, [7], asked);
        return firstOf(
          close("logProb", values(l), [-Math.log(4096)], 2e-6),
          close("vocabMean", values(vocabMean!), [-Math.log(4096)], 2e-6),
          close("entropy", values(entropy!), [Math.log(4096)], 2e-6),
        );
      },
    },
    ...[1e-30, 1e-8, 1, 1e30].map(
      (temperature): Check => ({
        family,
        name: `equal logits around 1e9 at temperature ${temperature}`,
        run(engine) {
          const rows = engine.tensor(new Float32Array(3 * 4096).fill(-1e9), [3, 4096]);
          rows.rows(1, 2).write(new Float32Array(4096).fill(1e9));
          rows
            .rows(2, 3)
            .write(Float32Array.from({ length: 4096 }, (_, v) => (v < 64 ? 1e9 : -1e9)));
          const how = { temperature, entropy: true };
          const { logProb: l, entropy } = logProb(engine, rows, [7, 7, 7], how);
          // Where z is +-1e-21 the third row is uniform too.
          const want = [4096, 4096, temperature > 1 ? 4096 : 64].map((count) => Math.log(count));
          return firstOf(
            close(
              "logProb",
              values(l),
              want.map((x) => -x),
              2e-6,
            ),
            close("entropy", values(entropy!), want, 2e-6),
          );
        },
      }),
    ),
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
