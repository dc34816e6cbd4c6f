import type { Engine } from "../../engine/engine.js";
import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { identical, sameBits, values, zero } from "../compare.js";
import { type Float, faultsOf, Random, typed, widen, withThreads } from "../inputs.js";
import {
  backward,
  forward,
  gradients,
  type LogProbCase,
  makeCase,
  reading,
  unpadded,
  upload,
} from "./cases.js";

const family = "log-prob";

/** The same rows in another order, or some of them. */
export function pick(c: LogProbCase, order: readonly number[]): LogProbCase {
  const { vocab } = c;
  const take = <T extends Float32Array | Int32Array | Uint8Array>(source: T): T => {
    const out = source.slice(0, order.length) as T;
    for (const [i, row] of order.entries()) out[i] = source[row]!;
    return out;
  };
  const some = (source: Float32Array | null | undefined) => (source == null ? null : take(source));
  const logits = order.flatMap((row) => [
    ...c.logits.numbers.subarray(row * vocab, (row + 1) * vocab),
  ]);
  return {
    ...c,
    logits: typed(logits, c.dtype),
    targets: take(c.targets),
    temperature: typeof c.temperature === "number" ? c.temperature : take(c.temperature),
    mask: c.mask === null ? null : take(c.mask),
    dLogProb: some(c.dLogProb),
    dEntropy: some(c.dEntropy),
    dVocabMean: some(c.dVocabMean),
  };
}

/** A case with some logits replaced. */
export function put(c: LogProbCase, changes: readonly [row: number, v: number, value: number][]) {
  const numbers = Float64Array.from(c.logits.numbers);
  for (const [row, v, value] of changes) numbers[row * c.vocab + v] = value;
  return { ...c, logits: typed(numbers, c.dtype) };
}

export function wholeRow(c: LogProbCase, row: number, value: number): LogProbCase {
  const all = Array.from({ length: c.vocab }, (_, v): [number, number, number] => [row, v, value]);
  return put(c, all);
}

/** Forward and backward results of some rows are the same bits as those of another call. */
export function sameRows(
  engine: Engine,
  a: LogProbCase,
  b: LogProbCase,
  pairs: readonly (readonly [number, number])[],
): string | null {
  const [x, y] = [forward(engine, a), forward(engine, b)];
  const [dX, dY] = [backward(engine, a), backward(engine, b)];
  return firstOf(
    ...pairs.flatMap(([i, j]) => [
      identical(`logProb of row ${j}`, x.logProb.rows(i, i + 1), y.logProb.rows(j, j + 1)),
      identical(`entropy of row ${j}`, x.entropy!.rows(i, i + 1), y.entropy!.rows(j, j + 1)),
      identical(`vocabMean of row ${j}`, x.vocabMean!.rows(i, i + 1), y.vocabMean!.rows(j, j + 1)),
      identical(`dLogits of row ${j}`, dX.rows(i, i + 1), dY.rows(j, j + 1)),
    ]),
  );
}

function permutation(dtype: Float): Check {
  return {
    family,
    name: `${dtype} rows in another order give the same bits`,
    run(engine) {
      const c = makeCase({ dtype, tokens: 7, vocab: 1000, masked: true, temperature: "rows" });
      const order = new Random(2).permutation(7);
      const pairs = order.map((row, i) => [row, i] as const);
      return sameRows(engine, c, pick(c, order), pairs);
    },
  };
}

function split(dtype: Float): Check {
  return {
    family,
    name: `${dtype} views of some rows give the same bits`,
    run(engine) {
      // 31 columns: the views start at an address that is no multiple of a vector.
      const c = makeCase({ dtype, tokens: 9, vocab: 31 });
      const logits = engine.tensor(c.logits.data, [9, 31], dtype);
      const whole = forward(engine, c, logits);
      const parts = [0, 1, 4, 9].map((end, i, all) => ({ begin: all[i - 1] ?? 0, end }));
      return firstOf(
        ...parts.map(({ begin, end }) => {
          const part = { ...c, targets: c.targets.slice(begin, end) };
          const got = forward(engine, part, logits.rows(begin, end));
          return firstOf(
            identical(`logProb of ${begin}..${end}`, got.logProb, whole.logProb.rows(begin, end)),
            identical(`entropy of ${begin}..${end}`, got.entropy!, whole.entropy!.rows(begin, end)),
            identical(
              `vocabMean of ${begin}..${end}`,
              got.vocabMean!,
              whole.vocabMean!.rows(begin, end),
            ),
          );
        }),
      );
    },
  };
}

function inPlace(dtype: Float): Check {
  return {
    family,
    name: `${dtype} backward in place gives the same bits`,
    run(engine) {
      const c = makeCase({ dtype, tokens: 6, vocab: 1003, masked: true });
      return identical("dLogits", backward(engine, c, true), backward(engine, c, false));
    },
  };
}

/** The columns after the vocabulary's hold NaN: that they are there changes no bit, nor do theirs. */
function padding(dtype: Float): Check {
  return {
    family,
    name: `${dtype} padding is neither read nor written`,
    run(engine) {
      const findings = [
        [31, 6],
        [1000, 40],
        [1000, 1],
      ].map(([vocab, columns]) => {
        const c = makeCase({ dtype, tokens: 5, vocab: vocab!, masked: true });
        const wide = { ...c, padding: columns };
        const [x, y] = [forward(engine, c), forward(engine, wide)];
        const dense = backward(engine, c);
        const inPlace = widen(backward(engine, wide, true).readSync(), dtype);
        const width = vocab! + columns!;
        const rest = inPlace.filter((_, i) => i % width >= vocab!);
        return firstOf(
          identical("logProb", y.logProb, x.logProb),
          identical("entropy", y.entropy!, x.entropy!),
          identical("vocabMean", y.vocabMean!, x.vocabMean!),
          identical("dLogits", backward(engine, wide), dense),
          sameBits("dLogits in place", unpadded(wide, inPlace), widen(dense.readSync(), dtype)),
          rest.every(Number.isNaN) ? null : "the padding was written",
          intoWider(engine, c, wide, dense),
        );
      });
      return firstOf(...findings);
    },
  };
}

/** Logits without padding, gradient into a tensor with it. */
function intoWider(engine: Engine, c: LogProbCase, wide: LogProbCase, want: Tensor): string | null {
  const logits = upload(engine, c);
  const out = upload(engine, wide);
  const result = forward(engine, c, logits);
  const { stats } = result;
  const how = { targets: c.targets, stats, ...reading(c), ...gradients(c, result) };
  const got = widen(logProbBackward(engine, { logits, ...how, out }).readSync(), c.dtype);
  return sameBits(
    "dLogits into a wider tensor",
    unpadded(wide, got),
    widen(want.readSync(), c.dtype),
  );
}

function temperatures(dtype: Float): Check {
  return {
    family,
    name: `${dtype} one temperature, an array and a tensor of it give the same bits`,
    run(engine) {
      const findings = [0.7, 1, 1 / 3, 1e-3, 123.4].map((temperature) => {
        const c = makeCase({ dtype, tokens: 5, vocab: 300, temperature });
        const array = new Float32Array(5).fill(temperature);
        const each = { ...c, temperature: array };
        const { logProb: asNumbers } = logProb(engine, upload(engine, c), c.targets, {
          temperature: [...array],
        });
        const { logProb: asTensor } = logProb(engine, upload(engine, c), c.targets, {
          temperature: engine.tensor(array),
        });
        const all = [0, 1, 2, 3, 4].map((t) => [t, t] as const);
        const { logProb: want } = forward(engine, c);
        return firstOf(
          sameRows(engine, c, each, all),
          identical("logProb from an array of numbers", asNumbers, want),
          identical("logProb from a tensor", asTensor, want),
        );
      });
      return firstOf(...findings);
    },
  };
}

function underMask(dtype: Float): Check {
  return {
    family,
    name: `${dtype} NaN and wrong ids under the mask change no bit`,
    run(engine) {
      const c = makeCase({ dtype, tokens: 6, vocab: 100, temperature: "rows" });
      c.mask = Uint8Array.from([1, 0, 1, 1, 0, 1]);
      const dirty = put(wholeRow(c, 1, Number.NaN), [[4, 7, Number.POSITIVE_INFINITY]]);
      dirty.targets = Int32Array.from(c.targets, (y, t) => (t === 1 ? -100 : t === 4 ? 100 : y));
      const soiled = (d: Float32Array) => d.map((x, t) => (c.mask![t] === 0 ? Number.NaN : x));
      dirty.dLogProb = soiled(c.dLogProb!);
      dirty.dEntropy = soiled(c.dEntropy!);
      dirty.dVocabMean = soiled(c.dVocabMean!);
      const all = c.targets.map((_, t) => t);
      const { finding, faults } = faultsOf(engine, (own) => {
        // As a tensor: on the host a temperature of NaN would be refused.
        const hidden = logProb(own, upload(own, dirty), dirty.targets, {
          mask: c.mask,
          temperature: own.tensor(soiled(c.temperature as Float32Array)),
        });
        return firstOf(
          sameRows(
            own,
            c,
            dirty,
            [...all].map((t) => [t, t] as const),
          ),
          identical("logProb", hidden.logProb, forward(own, c).logProb),
          zero("masked logProb", values(forward(own, dirty).logProb.rows(1, 2))),
          zero("masked dLogits", widen(backward(own, dirty, true).rows(4, 5).readSync(), dtype)),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    },
  };
}

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const c = makeCase({ dtype: "bf16", tokens: 23, vocab: 997, masked: true });
    const [one, two] = withThreads(engine, (own) => {
      const { logProb: l, entropy, vocabMean } = forward(own, c);
      return [l, entropy!, vocabMean!, backward(own, c)].map((tensor) => tensor.readSync());
    });
    return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
  },
};

/** What must not change a bit: the order of rows, views, padding, masked values, places, threads. */
export function logProbBitChecks(): Check[] {
  const floats = ["f32", "bf16", "f16"] as const;
  const each = floats.flatMap((dtype) =>
    [permutation, split, inPlace, padding, temperatures, underMask].map((of) => of(dtype)),
  );
  return [...each, threads];
}
