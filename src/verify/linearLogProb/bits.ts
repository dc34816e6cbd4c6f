import type { Engine } from "../../engine/engine.js";
import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { matmul } from "../../engine/nn/matmul.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Check, firstOf } from "../check.js";
import { identical, sameBits, values, zero } from "../compare.js";
import { faultsOf, typed, withThreads } from "../inputs.js";
import { gradients } from "../logProb/cases.js";
import {
  family,
  type LinearCase,
  type LinearCaseOptions,
  linearBackward,
  linearForward,
  makeLinearCase,
  uploadHead,
} from "./values.js";

/** Some rows of a case. */
export function pickRows(c: LinearCase, rows: readonly number[]): LinearCase {
  const floats = (source: Float32Array | null) =>
    source && Float32Array.from(rows, (row) => source[row]!);
  const hidden = rows.flatMap((row) => [
    ...c.hidden.numbers.subarray(row * c.width, (row + 1) * c.width),
  ]);
  return {
    ...c,
    hidden: typed(hidden, c.dtype),
    targets: Int32Array.from(rows, (row) => c.targets[row]!),
    mask: c.mask && Uint8Array.from(rows, (row) => c.mask![row]!),
    temperature: typeof c.temperature === "number" ? c.temperature : floats(c.temperature)!,
    dLogProb: floats(c.dLogProb),
    dEntropy: floats(c.dEntropy),
    dVocabMean: floats(c.dVocabMean),
  };
}

/** A case with some hidden states replaced, row by row. */
export function spoilRows(c: LinearCase, rows: readonly number[], value: number): LinearCase {
  const numbers = Float64Array.from(c.hidden.numbers);
  for (const row of rows) numbers.fill(value, row * c.width, (row + 1) * c.width);
  return { ...c, hidden: typed(numbers, c.dtype) };
}

/** All that a case gives. */
export function everything(engine: Engine, c: LinearCase): Record<string, Tensor> {
  const { logProb: l, entropy, vocabMean, stats } = linearForward(engine, c);
  const { dHidden, dWeight } = linearBackward(engine, c);
  const scored = { logProb: l, entropy: entropy!, vocabMean: vocabMean!, stats };
  return { ...scored, dHidden, dWeight: dWeight! };
}

export function sameTensors(
  got: Record<string, Tensor>,
  want: Record<string, Tensor>,
  names = Object.keys(want),
): string | null {
  return firstOf(...names.map((name) => identical(name, got[name]!, want[name]!)));
}

/** Rows of everything that has rows. */
function rowsOf(of: Record<string, Tensor>, begin: number, end: number): Record<string, Tensor> {
  const perRow = Object.entries(of).filter(([name]) => name !== "dWeight");
  return Object.fromEntries(perRow.map(([name, tensor]) => [name, tensor.rows(begin, end)]));
}

/** The same, with all logits held at once. */
function materialised(engine: Engine, c: LinearCase): Record<string, Tensor> {
  const [hidden, weight] = uploadHead(engine, c);
  const logits = matmul(engine, hidden, weight, { transposeB: true });
  const { targets, temperature, mask } = c;
  const extras = { entropy: true, vocabMean: true };
  const result = logProb(engine, logits, targets, { temperature, mask, ...extras });
  const { stats } = result;
  const above = gradients(c, result);
  const rows = { logits, targets, temperature, mask };
  const dLogits = logProbBackward(engine, { ...rows, stats, ...above });
  return {
    logProb: result.logProb,
    entropy: result.entropy!,
    vocabMean: result.vocabMean!,
    stats,
    dHidden: matmul(engine, dLogits, weight),
    dWeight: matmul(engine, dLogits, hidden, { transposeA: true }),
  };
}

/** Rows and columns beyond one tile of the smallest chunk, on either backend. */
function large(device: Engine["device"]): LinearCaseOptions {
  return device === "emulated"
    ? { tokens: 9, vocab: 270, width: 11 }
    : { tokens: 530, vocab: 4500, width: 11 };
}

/** The least chunk, and larger ones that give several tiles. */
function chunks(device: Engine["device"]): number[] {
  return device === "emulated" ? [9 * 128 * 4, 9 * 256 * 4] : [2 ** 18, 3 * 2 ** 18, 2 ** 22];
}

function check(name: string, run: Check["run"]): Check {
  return { family, name, run };
}

/** What must not change a bit: the chunk, splits of the batch, masked values, storage, threads. */
export function linearLogProbBitChecks(device: Engine["device"]): Check[] {
  const size = large(device);
  const floats = ["bf16", "f16"] as const;
  return [
    ...chunks(device).map((chunkBytes) =>
      check(`chunks of ${chunkBytes} bytes have the bits of matmul and log-prob`, (engine) => {
        const c = makeLinearCase({ ...size, temperature: "rows", chunkBytes });
        return sameTensors(everything(engine, c), materialised(engine, c));
      }),
    ),
    check("one chunk has the bits of matmul and log-prob", (engine) => {
      const c = makeLinearCase({ ...size, temperature: 0.8, entropy: false });
      return sameTensors(everything(engine, c), materialised(engine, c));
    }),
    // Tensor cores add in their own way.
    ...(device === "cpu" ? floats : []).map((dtype) =>
      check(`${dtype} has the bits of its values in f32`, (engine) => {
        const c = makeLinearCase({ tokens: 9, vocab: 70, width: 37, dtype, masked: true });
        const wide = (x: { numbers: Float64Array }) => typed(x.numbers, "f32");
        const same: LinearCase = {
          ...c,
          dtype: "f32",
          hidden: wide(c.hidden),
          weight: wide(c.weight),
        };
        return sameTensors(everything(engine, c), everything(engine, same));
      }),
    ),
    // More rows and columns than a tile has, so that both gradients are resumed sums.
    ...floats.map((dtype) =>
      check(`chunks have the bits of one chunk, ${dtype}`, (engine) => {
        const rows = device === "emulated" ? 131 : 530;
        const c = makeLinearCase({ tokens: rows, vocab: 300, width: 11, dtype, masked: true });
        const parts = { ...c, chunkBytes: device === "cpu" ? 2 ** 18 : 128 * 128 * 4 };
        return sameTensors(everything(engine, parts), everything(engine, c));
      }),
    ),
    check("some rows alone have the bits that they have in the batch", (engine) => {
      const c = makeLinearCase({ ...size, masked: true, chunkBytes: chunks(device)[0] });
      const whole = everything(engine, c);
      const tokens = c.targets.length;
      const cuts = [0, 1, 3, tokens - 1, tokens];
      return firstOf(
        ...cuts.slice(1).map((end, i) => {
          const begin = cuts[i]!;
          const rows = Array.from({ length: end - begin }, (_, r) => begin + r);
          const part = everything(engine, pickRows(c, rows));
          const finding = sameTensors(rowsOf(part, 0, rows.length), rowsOf(whole, begin, end));
          return finding && `rows ${begin} to ${end}: ${finding}`;
        }),
      );
    }),
    check("micro-batches that accumulate have the bits of the whole batch", (engine) => {
      const c = makeLinearCase({ ...size, chunkBytes: chunks(device)[0] });
      const whole = everything(engine, c);
      const tokens = c.targets.length;
      const cut = device === "emulated" ? 2 : 256;
      const dWeight = engine.zeros([c.vocab, c.width]);
      const dHidden = [
        [0, cut],
        [cut, tokens],
      ].map(([begin, end]) => {
        const rows = Array.from({ length: end! - begin! }, (_, r) => begin! + r);
        const own = engine.zeros([rows.length, c.width]);
        linearBackward(engine, pickRows(c, rows), { dHidden: own, dWeight, accumulate: true });
        return own;
      });
      return firstOf(
        identical("dWeight", dWeight, whole.dWeight!),
        identical("dHidden", dHidden[0]!, whole.dHidden!.rows(0, cut)),
        identical("dHidden of the rest", dHidden[1]!, whole.dHidden!.rows(cut, tokens)),
      );
    }),
    check("rows under the mask change no bit, and the others are as without them", (engine) => {
      const tokens = device === "emulated" ? 8 : 300;
      const size = { tokens, vocab: 60, width: 7 };
      const c = makeLinearCase({ ...size, temperature: "rows", masked: true });
      const masked = [...c.mask!.keys()].filter((t) => c.mask![t] === 0);
      const trained = [...c.mask!.keys()].filter((t) => c.mask![t] !== 0);
      const filth = (x: number) => (_: number, t: number) => (c.mask![t] === 0 ? x : _);
      const dirty: LinearCase = {
        ...spoilRows(c, masked, Number.NaN),
        targets: c.targets.map(filth(-7)),
        temperature: (c.temperature as Float32Array).map(filth(Number.NaN)),
        dLogProb: c.dLogProb!.map(filth(Number.NaN)),
        dEntropy: c.dEntropy!.map(filth(Number.NaN)),
        dVocabMean: c.dVocabMean!.map(filth(Number.NaN)),
      };
      const { finding, faults } = faultsOf(engine, (own) => {
        const [clean, got] = [everything(own, c), everything(own, dirty)];
        const alone = everything(own, { ...pickRows(c, trained), mask: null });
        const zeros = masked.flatMap((t) =>
          Object.entries(rowsOf(got, t, t + 1)).map(([name, x]) =>
            zero(`masked ${name}`, values(x)),
          ),
        );
        return firstOf(
          sameTensors(got, clean),
          ...zeros,
          identical("dWeight of the trained rows", got.dWeight!, alone.dWeight!),
          ...trained.map((t, i) => sameTensors(rowsOf(got, t, t + 1), rowsOf(alone, i, i + 1))),
        );
      });
      return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
    }),
    check("a frozen head gives the same bits", (engine) => {
      const c = makeLinearCase({ tokens: 5, vocab: 140, width: 9, masked: true });
      const { dHidden, dWeight } = linearBackward(engine, c, { dWeight: null });
      if (dWeight !== null) return "dWeight was made";
      return identical("dHidden", dHidden, linearBackward(engine, c).dHidden);
    }),
    check("one and two threads give the same bits", (engine) => {
      const c = makeLinearCase({ ...size, masked: true, chunkBytes: chunks(device)[0] });
      const [one, two] = withThreads(engine, (own) =>
        Object.values(everything(own, c)).map((tensor) => tensor.readSync()),
      );
      return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
    }),
  ];
}
