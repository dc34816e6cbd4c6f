import type { Engine } from "../engine/engine.js";
import { type KlOptions, klEstimate } from "../engine/kernels/kl.js";
import { klTable } from "../engine/kernels/klTable.js";
import { offsetsOf } from "../engine/ragged.js";
import { kl as reference } from "../reference/kl.js";
import { type Check, firstOf } from "./check.js";
import { close, sameBits, values, zero } from "./compare.js";
import { faultsOf, Random, withThreads } from "./inputs.js";
import { kls } from "./surrogate/goldenValues.js";

const family = "kl";

interface KlBatch {
  logProb: Float32Array;
  refLogProb: Float32Array;
  mask: Uint8Array | null;
  rowOffsets: Int32Array;
}

const ragged = [3, 0, 1, 17, 40, 5, 0, 64, 1, 9];
const estimators = klTable.combinations
  .filter(({ refusal }) => refusal === null)
  .map(({ choices }) => choices.estimator as KlOptions["estimator"]);

function klBatch(lengths: readonly number[] = ragged, spread = 0.5, masked = true): KlBatch {
  const random = new Random(5);
  const rowOffsets = offsetsOf(lengths);
  const logProb = random.normals(rowOffsets.at(-1)!).map((x) => -Math.abs(x) * 2);
  const refLogProb = logProb.map((x) => x + spread * random.normal());
  return { logProb, refLogProb, mask: masked ? random.mask(logProb.length) : null, rowOffsets };
}

function call(engine: Engine, b: KlBatch, options: KlOptions) {
  const { kl, rowKl } = klEstimate(engine, b, options);
  return { kl: kl.readSync(), rowKl: rowKl.readSync(), values: values(kl), sums: values(rowKl) };
}

function checkKl(engine: Engine, b: KlBatch, options: KlOptions): string | null {
  const got = call(engine, b, options);
  const want = reference(b, options.estimator, options.clamp);
  const [ofToken, ofRow] = klTable.tolerances;
  // k1 cancels over a row; its terms do not.
  const absolute = reference(
    b,
    options.estimator === "k1" ? "abs" : options.estimator,
    options.clamp,
  );
  return firstOf(
    close("kl", got.values, want.kl, (t) => ofToken!.cpu * Math.abs(want.kl[t]!)),
    close("rowKl", got.sums, want.rowKl, (r) => ofRow!.cpu * absolute.rowKl[r]!),
  );
}

function check(name: string, b: () => KlBatch, options: KlOptions): Check {
  return { family, name, run: (engine) => checkKl(engine, b(), options) };
}

const golden: Check[] = kls
  .filter(([, estimator]) => estimator !== "k3+")
  .map(([d, estimator, value, , more]) => ({
    family,
    name: `by hand: ${estimator} at a log-ratio of ${d.toFixed(3)} ${JSON.stringify(more?.klClamp ?? {})}`,
    run(engine) {
      const inputs = { logProb: [-1 + d], refLogProb: [-1], rowOffsets: [0, 1] };
      const options = { estimator: estimator as KlOptions["estimator"], clamp: more?.klClamp };
      const { kl, rowKl } = klEstimate(engine, inputs, options);
      return firstOf(
        close("kl", values(kl), [value], 2e-6),
        close("rowKl", values(rowKl), [value], 2e-6),
        close("the reference's kl", reference(inputs, estimator, more?.klClamp).kl, [value], 1e-12),
      );
    },
  }));

const bits: Check = {
  family,
  name: "one and two threads, a row alone and among others: the same bits",
  run(engine) {
    const b = klBatch([3000, 1, 0, 5000, 700]);
    const [one, two] = withThreads(engine, (own) => call(own, b, { estimator: "k3" }));
    const [begin, end] = [b.rowOffsets[3]!, b.rowOffsets[4]!];
    const alone = call(
      engine,
      {
        logProb: b.logProb.slice(begin, end),
        refLogProb: b.refLogProb.slice(begin, end),
        mask: b.mask!.slice(begin, end),
        rowOffsets: Int32Array.of(0, end - begin),
      },
      { estimator: "k3" },
    );
    return firstOf(
      sameBits("kl", one.kl, two.kl),
      sameBits("rowKl", one.rowKl, two.rowKl),
      sameBits("kl of row 3", alone.kl, one.kl.subarray(begin, end)),
      sameBits("rowKl of row 3", alone.rowKl, one.rowKl.subarray(3, 4)),
    );
  },
};

const underMask: Check = {
  family,
  name: "NaN and infinities under the mask change no bit",
  run(engine) {
    const b = klBatch();
    const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    const soil = (x: Float32Array) => x.map((v, t) => (b.mask![t] === 0 ? filth[t % 3]! : v));
    const dirty = { ...b, logProb: soil(b.logProb), refLogProb: soil(b.refLogProb) };
    const { finding, faults } = faultsOf(engine, (own) => {
      const [clean, got] = [b, dirty].map((batch) => call(own, batch, { estimator: "k3" }));
      return firstOf(
        sameBits("kl", got!.kl, clean!.kl),
        sameBits("rowKl", got!.rowKl, clean!.rowKl),
        zero(
          "masked kl",
          got!.values.filter((_, t) => b.mask![t] === 0),
        ),
      );
    });
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

/** NaN given, and NaN made of infinities. */
function fault(name: string, logProb: number, refLogProb: number): Check {
  return {
    family,
    name: `${name} in a trained token: NaN there and in its row, reported, others untouched`,
    run(engine) {
      const b = klBatch([4, 5], 0.5, false);
      const spoilt = { ...b, logProb: b.logProb.slice(), refLogProb: b.refLogProb.slice() };
      spoilt.logProb[6] = logProb;
      spoilt.refLogProb[6] = refLogProb;
      const { finding, faults } = faultsOf(engine, (own) => {
        const [clean, got] = [b, spoilt].map((batch) => call(own, batch, { estimator: "k2" }));
        const want = clean!.values.map((x, t) => (t === 6 ? Number.NaN : x));
        return firstOf(
          close("kl", got!.values, want, 0),
          close("rowKl", got!.sums, [clean!.sums[0]!, Number.NaN], 0),
        );
      });
      const right = faults.length > 0 && faults.every((f) => f.count === 1 && f.firstRow === 1);
      return (
        finding ?? (right ? null : `reported ${JSON.stringify(faults)} instead of one in row 1`)
      );
    },
  };
}

/** Every estimator against float64, by hand, under its limits, on what must not matter. */
export function klChecks(device: Engine["device"]): Check[] {
  const long = device === "emulated" ? [1500, 2, 700] : [40000, 2, 3000];
  return [
    ...golden,
    ...estimators.flatMap((estimator) => [
      check(estimator, () => klBatch(), { estimator }),
      check(`${estimator}, clamped`, () => klBatch(), {
        estimator,
        clamp: { difference: 0.6, value: 0.2 },
      }),
    ]),
    check("k3 of nearly equal policies", () => klBatch(ragged, 1e-3), { estimator: "k3" }),
    check("k3 of policies far apart", () => klBatch(ragged, 10), { estimator: "k3" }),
    check("long rows", () => klBatch(long), { estimator: "k3" }),
    check("no rows", () => klBatch([]), { estimator: "k1" }),
    check("only empty rows", () => klBatch([0, 0]), { estimator: "k1" }),
    check("no mask", () => klBatch(ragged, 0.5, false), { estimator: "k2" }),
    bits,
    underMask,
    fault("NaN in logProb", Number.NaN, -1),
    fault("NaN in refLogProb", -1, Number.NaN),
    fault("inf - inf", Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY),
  ];
}
