import type { FaultReport } from "../../engine/engine.js";
import { linearLogProb, linearLogProbBackward } from "../../engine/kernels/linearLogProb.js";
import type { Tensor } from "../../engine/tensor.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import { linearLogProb as reference } from "../../reference/linearLogProb.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, values, zero } from "../compare.js";
import { faultsOf, Random, typed } from "../inputs.js";
import { everything, pickRows, spoilRows } from "./bits.js";
import { family, headOf, type LinearCase, linearBackward, makeLinearCase } from "./values.js";

/** A row that cannot be used: NaN out, no gradient from it, the other rows untouched, reported once. */
function faulty(
  name: string,
  kind: FaultReport["kind"],
  spoil: (c: LinearCase) => LinearCase,
): Check {
  return {
    family,
    name: `${name}: NaN, no gradient, reported under its number, no other row touched`,
    run(engine) {
      // On CUDA the chunk holds five rows, and the last one is alone in the second.
      const c = makeLinearCase({ tokens: 6, vocab: 300, width: 6, chunkBytes: 6 * 256 * 4 });
      const bad = spoil(c);
      const others = [0, 1, 2, 3, 4];
      const { finding, faults } = faultsOf(engine, (own) => {
        const got = everything(own, bad);
        const alone = everything(own, pickRows(c, others));
        return firstOf(
          close("logProb", values(got.logProb!.rows(5, 6)), [Number.NaN], 0),
          close("entropy", values(got.entropy!.rows(5, 6)), [Number.NaN], 0),
          zero("dHidden", values(got.dHidden!.rows(5, 6))),
          identical("dWeight", got.dWeight!, alone.dWeight!),
          ...["logProb", "entropy", "vocabMean", "stats", "dHidden"].flatMap((output) =>
            others.map((t, i) =>
              identical(
                `${output} of row ${t}`,
                got[output]!.rows(t, t + 1),
                alone[output]!.rows(i, i + 1),
              ),
            ),
          ),
        );
      });
      if (finding !== null) return finding;
      const wrong = faults.find((f) => f.kind !== kind || f.count !== 1 || f.firstRow !== 5);
      if (faults.length > 0 && wrong === undefined) return null;
      return `reported ${JSON.stringify(faults)} instead of ${kind} in row 5`;
    },
  };
}

function gradientCheck(temperature: number): Check {
  return {
    family,
    name: `gradients against central differences through hidden and weight, temperature ${temperature}`,
    run(engine) {
      const c = makeLinearCase({
        tokens: 4,
        vocab: 17,
        width: 5,
        temperature,
        masked: true,
        seed: 5,
      });
      const objective = (change: { hidden?: Float64Array; weight?: Float64Array }) => {
        const { logProb: l, entropy: h, vocabMean: m } = reference({ ...headOf(c), ...change });
        const { dLogProb: dL, dEntropy: dH, dVocabMean: dM } = c;
        return l.reduce((sum, x, t) => sum + x * dL![t]! + h[t]! * dH![t]! + m[t]! * dM![t]!, 0);
      };
      const wantH = finiteDifference((hidden) => objective({ hidden }), c.hidden.numbers);
      const wantW = finiteDifference((weight) => objective({ weight }), c.weight.numbers);
      const got = linearBackward(engine, c);
      // Differences of float64 are good to 1e-8 here; the rest is f32: some 3e-6 of every d logit,
      // times weights of 1, 17 of them, added up as if at random.
      const tolerance = 12e-6 / temperature;
      return firstOf(
        close("dHidden", values(got.dHidden), wantH, tolerance),
        close("dWeight", values(got.dWeight!), wantW, tolerance),
      );
    },
  };
}

export function linearLogProbEdgeChecks(): Check[] {
  const withTarget = (c: LinearCase, id: number): LinearCase => ({
    ...c,
    targets: c.targets.map((y, t) => (t === 5 ? id : y)),
  });
  return [
    gradientCheck(1),
    gradientCheck(0.5),
    gradientCheck(3),
    faulty("NaN in hidden", "not-a-number", (c) => spoilRows(c, [5], Number.NaN)),
    faulty("infinity in hidden", "not-a-number", (c) =>
      spoilRows(c, [5], Number.POSITIVE_INFINITY),
    ),
    faulty("a temperature of 0", "parameter-out-of-range", (c) => ({
      ...c,
      temperature: Float32Array.from(c.targets, (_, t) => (t === 5 ? 0 : 1)),
    })),
    faulty("target -1", "id-out-of-range", (c) => withTarget(c, -1)),
    faulty("target V", "id-out-of-range", (c) => withTarget(c, 300)),
    {
      family,
      name: "a NaN in the weight makes every row faulty and no gradient",
      run(engine) {
        const c = makeLinearCase({ tokens: 4, vocab: 40, width: 6 });
        const numbers = Float64Array.from(c.weight.numbers);
        numbers[7 * 6 + 2] = Number.NaN;
        const bad = { ...c, weight: typed(numbers, "f32") };
        const { finding, faults } = faultsOf(engine, (own) => {
          const got = everything(own, bad);
          return firstOf(
            close("logProb", values(got.logProb!), new Array(4).fill(Number.NaN), 0),
            zero("dHidden", values(got.dHidden!)),
            zero("dWeight", values(got.dWeight!)),
          );
        });
        return finding ?? (faults.some((f) => f.count === 4) ? null : "not reported");
      },
    },
    {
      family,
      name: "all masked: zeros, whatever stands there",
      run(engine) {
        const c = spoilRows(makeLinearCase({ tokens: 4, vocab: 40, width: 6 }), [1], Number.NaN);
        const got = everything(engine, { ...c, mask: new Uint8Array(4) });
        return firstOf(...Object.entries(got).map(([name, x]) => zero(name, values(x))));
      },
    },
    {
      family,
      name: "no rows: a weight gradient of zeros",
      run(engine) {
        const got = everything(engine, makeLinearCase({ tokens: 0, vocab: 40, width: 6 }));
        return firstOf(
          close("logProb", values(got.logProb!), [], 0),
          close("dHidden", values(got.dHidden!), [], 0),
          zero("dWeight", values(got.dWeight!)),
        );
      },
    },
    {
      family,
      name: "what accumulates starts from what is there; rows without a gradient stay",
      run(engine) {
        const c = makeLinearCase({ tokens: 5, vocab: 33, width: 7 });
        c.mask = Uint8Array.of(1, 0, 1, 0, 1);
        const random = new Random(3);
        const [h, w] = [random.normals(35), random.normals(33 * 7)];
        const dHidden = engine.tensor(h, [5, 7]);
        const dWeight = engine.tensor(w, [33, 7]);
        linearBackward(engine, c, { dHidden, dWeight, accumulate: true });
        const added = linearBackward(engine, c);
        const sum = (a: Float32Array, b: Tensor) => values(b).map((x, i) => a[i]! + x);
        return firstOf(
          close("dHidden", values(dHidden), sum(h, added.dHidden), 3e-6),
          close("dWeight", values(dWeight), sum(w, added.dWeight!), 3e-6),
          close("dHidden of a masked row", values(dHidden.rows(3, 4)), h.slice(21, 28), 0),
        );
      },
    },
    {
      family,
      name: "by hand: logits log 1, log 2, log 3",
      run(engine) {
        const weight = engine.tensor([0, Math.log(2), Math.log(3)], [3, 1]);
        const hidden = engine.tensor([1], [1, 1]);
        const targets = engine.tensor([2], [1], "i32");
        const got = linearLogProb(engine, hidden, weight, targets, { entropy: true });
        const { dHidden, dWeight } = linearLogProbBackward(engine, {
          ...{ hidden, weight, targets, stats: got.stats, dLogProb: [1] },
        });
        // p = 1/6, 2/6, 3/6: d logits = [-1/6, -1/3, 1/2], d hidden = its product with the weight.
        return firstOf(
          close("logProb", values(got.logProb), [-Math.LN2], 2e-6),
          close("entropy", values(got.entropy!), [1.0114042647073518], 2e-6),
          close("dHidden", values(dHidden), [0.3182570841474065], 2e-6),
          close("dWeight", values(dWeight!), [-1 / 6, -1 / 3, 1 / 2], 2e-6),
        );
      },
    },
  ];
}
