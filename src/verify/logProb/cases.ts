import type { Engine } from "../../engine/engine.js";
import { type LogProbResult, logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { forwardTolerances } from "../../engine/kernels/logProbTable.js";
import type { Tensor } from "../../engine/tensor.js";
import {
  distribution,
  type LogProbRows,
  logProbGradient,
  logProb as reference,
  temperatureOf,
} from "../../reference/logProb.js";
import { firstOf } from "../check.js";
import { close, values } from "../compare.js";
import {
  type Float,
  logitRows,
  Random,
  rounding,
  type Typed,
  targetsOf,
  typed,
  widen,
} from "../inputs.js";

/** One call, its inputs as the kernel sees them and as numbers. */
export interface LogProbCase {
  dtype: Float;
  vocab: number;
  logits: Typed;
  targets: Int32Array;
  /** Of all rows, or of each. */
  temperature: number | Float32Array;
  mask: Uint8Array | null;
  /** Gradients that come from above. */
  dLogProb: Float32Array | null;
  dEntropy: Float32Array | null;
  dVocabMean?: Float32Array | null;
  /** Columns of NaN after the vocabulary's; default none. */
  padding?: number;
}

export interface CaseOptions {
  dtype?: Float;
  tokens: number;
  vocab: number;
  /** "rows": one a row, from 1/4 to 4. */
  temperature?: number | "rows";
  masked?: boolean;
  /** With gradients of these; default all. */
  logProb?: boolean;
  entropy?: boolean;
  vocabMean?: boolean;
  /** Added to every logit. */
  shift?: number;
  padding?: number;
  seed?: number;
}

export function makeCase(options: CaseOptions): LogProbCase {
  const { dtype = "f32", tokens, vocab, temperature = 1, masked = false, padding } = options;
  const random = new Random(options.seed ?? 1);
  const logits = typed(logitRows(random, tokens, vocab, options.shift), dtype);
  const gradient = (wanted = true) => {
    const all = random.normals(tokens);
    return wanted ? all : null;
  };
  const drawn = Float32Array.from({ length: tokens }, () => 4 ** (2 * random.uniform() - 1));
  return {
    dtype,
    vocab,
    logits,
    targets: targetsOf(random, logits.numbers, vocab),
    temperature: temperature === "rows" ? drawn : Math.fround(temperature),
    mask: masked ? random.mask(tokens) : null,
    dLogProb: gradient(options.logProb),
    dEntropy: gradient(options.entropy),
    dVocabMean: gradient(options.vocabMean),
    padding,
  };
}

export function rowsOf(c: LogProbCase): LogProbRows {
  const { vocab, targets, temperature, mask } = c;
  return { logits: c.logits.numbers, vocab, targets, temperature, mask };
}

/** [T, V + padding]: the logits, with NaN in the padding. */
export function padded(c: LogProbCase): Typed["data"] {
  const { vocab, padding = 0 } = c;
  if (padding === 0) return c.logits.data;
  const width = vocab + padding;
  const blank = Array<number>(c.targets.length * width).fill(Number.NaN);
  const { data } = typed(blank, c.dtype);
  for (let t = 0; t < c.targets.length; ++t) {
    data.set(c.logits.data.subarray(t * vocab, (t + 1) * vocab), t * width);
  }
  return data;
}

/** The logits on the device. */
export function upload(engine: Engine, c: LogProbCase): Tensor {
  return engine.tensor(padded(c), [c.targets.length, c.vocab + (c.padding ?? 0)], c.dtype);
}

/** What a call needs to read the case's rows. */
export function reading(c: LogProbCase) {
  const { temperature, mask, padding = 0 } = c;
  return { temperature, mask, ...(padding === 0 ? {} : { columns: c.vocab }) };
}

export function forward(engine: Engine, c: LogProbCase, logits = upload(engine, c)): LogProbResult {
  return logProb(engine, logits, c.targets, { ...reading(c), entropy: true, vocabMean: true });
}

/** The gradients of a case, each with the output that it needs. */
export function gradients(
  c: Pick<LogProbCase, "dLogProb" | "dEntropy" | "dVocabMean">,
  { entropy, vocabMean }: LogProbResult,
) {
  const { dLogProb, dEntropy, dVocabMean = null } = c;
  return {
    dLogProb,
    dEntropy,
    entropy: dEntropy === null ? null : entropy,
    dVocabMean,
    vocabMean: dVocabMean === null ? null : vocabMean,
  };
}

export function backward(engine: Engine, c: LogProbCase, inPlace = false): Tensor {
  const logits = upload(engine, c);
  const result = forward(engine, c, logits);
  return logProbBackward(engine, {
    logits,
    targets: c.targets,
    stats: result.stats,
    ...reading(c),
    ...gradients(c, result),
    out: inPlace ? logits : undefined,
  });
}

/** The contract of log_prob.h, of float64 on the same inputs; `share` as in the kernel's table. */
export function forwardTolerance(
  c: LogProbCase,
  share: number = forwardTolerances.logProb.cpu,
): (row: number) => number {
  return (row) => {
    const temperature = temperatureOf(c, row);
    let largest = 0;
    for (let v = 0; v < c.vocab; ++v) {
      const z = Math.abs(c.logits.numbers[row * c.vocab + v]! / temperature);
      if (z !== Number.POSITIVE_INFINITY && z > largest) largest = z;
    }
    return share * (10 + largest);
  };
}

/** Log-probs, entropies and vocabulary means against float64. */
export function compareForward(engine: Engine, c: LogProbCase, got: LogProbResult): string | null {
  const want = reference(rowsOf(c));
  const backend = engine.device === "cpu" ? "cpu" : "cuda";
  const outputs = ["logProb", "entropy", "vocabMean"] as const;
  return firstOf(
    ...outputs.map((name) => {
      const tensor = got[name];
      if (tensor === null) return null;
      return close(
        name,
        values(tensor),
        want[name],
        forwardTolerance(c, forwardTolerances[name][backend]),
      );
    }),
  );
}

export function checkForward(engine: Engine, c: LogProbCase): string | null {
  return compareForward(engine, c, forward(engine, c));
}

/**
 * Rounded once to the dtype, from f32 arithmetic in which p is off by some 4e-7 (exp2, its argument)
 * and by 2e-7 |log p| (the temperature, log2 e and the exponent are floats), and entropy as forward.
 */
export function backwardTolerance(c: LogProbCase): (index: number) => number {
  const rows = rowsOf(c);
  const ofRow = forwardTolerance(c);
  // The smallest numbers of a dtype are where rounding stops being relative; f32 may flush them.
  const tiny = { f32: 2 ** -125, bf16: 2 ** -125, f16: 2 ** -25 }[c.dtype];
  let row = -1;
  let current = distribution({ ...rows, targets: [0] }, 0);
  let entropyError = 0;
  return (index) => {
    if (Math.floor(index / c.vocab) !== row) {
      row = Math.floor(index / c.vocab);
      current = distribution(rows, row);
      entropyError = 2 * ofRow(row);
    }
    const v = index % c.vocab;
    if (current.p === null) return 0;
    const p = current.p[v]!;
    const far = p === 0 ? 0 : Math.abs(current.logP[v]!);
    const above = (gradient: Float32Array | null | undefined) => Math.abs(gradient?.[row] ?? 0);
    const [dL, dH, dM] = [above(c.dLogProb), above(c.dEntropy), above(c.dVocabMean)];
    const constant = (v === c.targets[row] ? dL : 0) + dM / c.vocab;
    const size = constant + p * (dL + dM + (far + current.entropy) * dH);
    const error = p * (6e-7 + 3e-7 * far) * (dL + dM + (far + current.entropy + 1) * dH);
    const absolute = error + p * dH * entropyError;
    const rounded = (rounding[c.dtype] + 4 * rounding.f32) * size;
    return tiny + (rounded + absolute) / temperatureOf(rows, row);
  };
}

/** d logits as numbers, [T, V], against float64. */
export function compareBackward(c: LogProbCase, got: ArrayLike<number>): string | null {
  const want = logProbGradient(rowsOf(c), c.dLogProb, c.dEntropy, c.dVocabMean);
  return close("dLogits", got, want, backwardTolerance(c));
}

export function checkBackward(engine: Engine, c: LogProbCase, inPlace: boolean): string | null {
  const got = widen(backward(engine, c, inPlace).readSync(), c.dtype);
  return compareBackward(c, inPlace ? unpadded(c, got) : got);
}

/** The vocabulary's columns of [T, V + padding]. */
export function unpadded(c: LogProbCase, all: Float64Array): Float64Array {
  const { vocab, padding = 0 } = c;
  return all.filter((_, i) => i % (vocab + padding) < vocab);
}
