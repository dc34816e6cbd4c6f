import type { Engine } from "../../engine/engine.js";
import {
  type LinearLogProbBackwardInputs,
  linearLogProb,
  linearLogProbBackward,
} from "../../engine/kernels/linearLogProb.js";
import { linearLogProbTable, roundings } from "../../engine/kernels/linearLogProbTable.js";
import type { LogProbResult } from "../../engine/kernels/logProb.js";
import { forwardTolerances } from "../../engine/kernels/logProbTable.js";
import type { Tensor } from "../../engine/tensor.js";
import {
  headRows,
  type LinearHead,
  linearLogProbGradient,
  linearLogProb as reference,
} from "../../reference/linearLogProb.js";
import { distribution, logProbGradient, temperatureOf } from "../../reference/logProb.js";
import { type Check, firstOf } from "../check.js";
import { close, F32_ROUNDING, values } from "../compare.js";
import { type Float, Random, type Typed, targetsOf, typed } from "../inputs.js";
import {
  backwardTolerance,
  forwardTolerance,
  gradients,
  type LogProbCase,
} from "../logProb/cases.js";

export const family = "linear-log-prob";

/** One call, its inputs as the kernel sees them and as numbers. */
export interface LinearCase {
  dtype: Float;
  vocab: number;
  width: number;
  hidden: Typed;
  weight: Typed;
  targets: Int32Array;
  /** Of all rows, or of each. */
  temperature: number | Float32Array;
  mask: Uint8Array | null;
  chunkBytes: number | undefined;
  /** Gradients that come from above. */
  dLogProb: Float32Array | null;
  dEntropy: Float32Array | null;
  dVocabMean: Float32Array | null;
}

export interface LinearCaseOptions {
  dtype?: Float;
  tokens: number;
  vocab: number;
  width: number;
  /** "rows": one a row, from 1/2 to 2. */
  temperature?: number | "rows";
  masked?: boolean;
  /** With gradients of these; default all. */
  logProb?: boolean;
  entropy?: boolean;
  vocabMean?: boolean;
  chunkBytes?: number;
  seed?: number;
}

/** Logits of a few units, and in each row one that stands out: else all probabilities are alike. */
export function makeLinearCase(options: LinearCaseOptions): LinearCase {
  const { dtype = "f32", tokens, vocab, width, temperature = 1, chunkBytes } = options;
  const random = new Random(options.seed ?? 1);
  const weight = random.normals(vocab * width);
  const hidden = random.normals(tokens * width, 2 / Math.sqrt(width));
  for (let t = 0; t < tokens; ++t) {
    const v = random.integer(vocab);
    for (let p = 0; p < width; ++p) hidden[t * width + p]! += (6 / width) * weight[v * width + p]!;
  }
  const [h, w] = [typed(hidden, dtype), typed(weight, dtype)];
  const sizes = { hidden: h.numbers, weight: w.numbers, width, targets: new Int32Array(tokens) };
  const gradient = (wanted = true) => {
    const all = random.normals(tokens);
    return wanted ? all : null;
  };
  const drawn = Float32Array.from({ length: tokens }, () => 2 ** (2 * random.uniform() - 1));
  return {
    dtype,
    vocab,
    width,
    hidden: h,
    weight: w,
    targets: targetsOf(random, headRows(sizes).logits, vocab),
    temperature: temperature === "rows" ? drawn : Math.fround(temperature),
    mask: options.masked ? random.mask(tokens) : null,
    chunkBytes,
    dLogProb: gradient(options.logProb),
    dEntropy: gradient(options.entropy),
    dVocabMean: gradient(options.vocabMean),
  };
}

export function headOf(c: LinearCase): LinearHead {
  const { width, targets, temperature, mask } = c;
  return { hidden: c.hidden.numbers, weight: c.weight.numbers, width, targets, temperature, mask };
}

/** Hidden states and weight on the device. */
export function uploadHead(engine: Engine, c: LinearCase): [hidden: Tensor, weight: Tensor] {
  return [
    engine.tensor(c.hidden.data, [c.targets.length, c.width], c.dtype),
    engine.tensor(c.weight.data, [c.vocab, c.width], c.dtype),
  ];
}

/** What both passes take. A tensor's temperatures, unlike an array's, are seen by the device alone. */
function settings(engine: Engine, { temperature, mask, chunkBytes }: LinearCase) {
  const rows = typeof temperature === "number" ? temperature : engine.tensor(temperature);
  return { temperature: rows, mask, chunkBytes };
}

export function linearForward(
  engine: Engine,
  c: LinearCase,
  [hidden, weight] = uploadHead(engine, c),
): LogProbResult {
  const options = { ...settings(engine, c), entropy: true, vocabMean: true };
  return linearLogProb(engine, hidden, weight, c.targets, options);
}

export function linearBackward(
  engine: Engine,
  c: LinearCase,
  extra: Partial<LinearLogProbBackwardInputs> = {},
) {
  const [hidden, weight] = uploadHead(engine, c);
  const result = linearForward(engine, c, [hidden, weight]);
  return linearLogProbBackward(engine, {
    hidden,
    weight,
    targets: c.targets,
    stats: result.stats,
    ...settings(engine, c),
    ...gradients(c, result),
    ...extra,
  });
}

/** The case with all logits in float64, as log-prob's own checks take it. */
function materialised(c: LinearCase): LogProbCase {
  const logits = headRows(headOf(c)).logits as Float64Array;
  return { ...c, dtype: "f32", logits: { data: Float32Array.from(logits), numbers: logits } };
}

/** How far the kernel's logits of each row may be off: n 2^-24 sum |h w|, the largest over v. */
function logitErrors(engine: Engine, c: LinearCase): Float64Array {
  const n = roundings(c.width, c.dtype, "logits", engine.device);
  return Float64Array.from(c.targets, (_, t) => {
    let largest = 0;
    for (let v = 0; v < c.vocab; ++v) {
      let sum = 0;
      for (let p = 0; p < c.width; ++p) {
        sum += Math.abs(c.hidden.numbers[t * c.width + p]! * c.weight.numbers[v * c.width + p]!);
      }
      largest = Math.max(largest, sum);
    }
    return n * F32_ROUNDING * largest;
  });
}

/**
 * That of log-prob, and what logits off by e do: logsumexp and the target's logit (or the logits' mean)
 * move by at most e / temperature each, entropy by sum p |log p + H| e / temperature, where the sum is
 * at most 2 H.
 */
export function checkLinearForward(engine: Engine, c: LinearCase): string | null {
  const got = linearForward(engine, c);
  const want = reference(headOf(c));
  const plain = materialised(c);
  const errors = logitErrors(engine, c);
  const backend = engine.device === "cpu" ? "cpu" : "cuda";
  const moved = (t: number) => (2 * errors[t]!) / temperatureOf(c, t);
  return firstOf(
    ...(["logProb", "entropy", "vocabMean"] as const).map((name) => {
      const ofRow = forwardTolerance(plain, forwardTolerances[name][backend]);
      const share = (t: number) => (name === "entropy" ? want.entropy[t]! + 1e-3 : 1);
      return close(name, values(got[name]!), want[name], (t) => ofRow(t) + share(t) * moved(t));
    }),
  );
}

/** d logits, and how far the kernel's may be off, [T, V]. */
function gradientErrors(engine: Engine, c: LinearCase) {
  const rows = headRows(headOf(c));
  const dLogits = logProbGradient(rows, c.dLogProb, c.dEntropy, c.dVocabMean);
  const ofElement = backwardTolerance(materialised(c));
  const errors = logitErrors(engine, c);
  const error = new Float64Array(dLogits.length);
  for (let t = 0; t < c.targets.length; ++t) {
    const { p, logP, entropy } = distribution(rows, t);
    const temperature = temperatureOf(c, t);
    const moved = (2 * errors[t]!) / temperature; // of log p
    const above = (gradient: Float32Array | null) => Math.abs(gradient?.[t] ?? 0);
    const [dL, dH, dM] = [above(c.dLogProb), above(c.dEntropy), above(c.dVocabMean)];
    for (let v = 0; v < c.vocab; ++v) {
      const at = t * c.vocab + v;
      const far = p === null ? 0 : Math.abs(logP[v]! + entropy) + 1 + 2 * entropy;
      const size = (p?.[v] ?? 0) * (dL + dM + far * dH);
      error[at] = ofElement(at) + (size * moved) / temperature;
    }
  }
  return { dLogits, error };
}

/** As `checkLinearForward`, through both products. */
export function checkLinearBackward(engine: Engine, c: LinearCase): string | null {
  const got = linearBackward(engine, c);
  const want = linearLogProbGradient(headOf(c), c.dLogProb, c.dEntropy, c.dVocabMean);
  const { dLogits, error } = gradientErrors(engine, c);
  const { width, vocab } = c;
  const tokens = c.targets.length;
  const toleranceH = new Float64Array(tokens * width).fill(2 ** -125);
  const toleranceW = new Float64Array(vocab * width).fill(2 ** -125);
  const [sumH, sumW] = [vocab, tokens].map(
    (k) => roundings(k, c.dtype, "gradient", engine.device) * F32_ROUNDING,
  );
  for (let t = 0; t < tokens; ++t) {
    if (c.mask?.[t] === 0) continue;
    for (let v = 0; v < vocab; ++v) {
      const [g, e] = [Math.abs(dLogits[t * vocab + v]!), error[t * vocab + v]!];
      for (let p = 0; p < width; ++p) {
        const [h, w] = [c.hidden.numbers[t * width + p]!, c.weight.numbers[v * width + p]!];
        toleranceH[t * width + p]! += (e + sumH! * g) * Math.abs(w);
        toleranceW[v * width + p]! += (e + sumW! * g) * Math.abs(h);
      }
    }
  }
  return firstOf(
    close("dHidden", values(got.dHidden), want.dHidden, (i) => toleranceH[i]!),
    close("dWeight", values(got.dWeight!), want.dWeight, (i) => toleranceW[i]!),
  );
}

/** Sizes around the kernels' blocks, down to nothing. */
const small: readonly LinearCaseOptions[] = [
  { tokens: 1, vocab: 1, width: 1 },
  { tokens: 3, vocab: 2, width: 5 },
  { tokens: 5, vocab: 31, width: 1 },
  { tokens: 7, vocab: 130, width: 33 },
  { tokens: 0, vocab: 31, width: 8 },
];

/** Some in several tiles of columns, of rows, of both. */
function large(device: Engine["device"]): readonly LinearCaseOptions[] {
  return device === "emulated"
    ? [
        { tokens: 17, vocab: 129, width: 40 },
        { tokens: 6, vocab: 300, width: 12, chunkBytes: 6 * 128 * 4 },
      ]
    : [
        { tokens: 20, vocab: 1000, width: 300 },
        { tokens: 3, vocab: 9001, width: 20, chunkBytes: 2 ** 18 },
        { tokens: 600, vocab: 300, width: 24, chunkBytes: 2 ** 18 },
      ];
}

/** Every legal combination at every small size, and large ones, against float64. */
export function linearLogProbValueChecks(device: Engine["device"]): Check[] {
  const legal = linearLogProbTable.combinations.filter(({ refusal }) => refusal === null);
  return legal.flatMap(({ choices }) =>
    [...small, ...(choices.temperature === "row" ? [] : large(device))].flatMap(
      (size, i): Check[] => {
        const dtype = choices.hidden as Float;
        const masked = i % 2 === 1;
        const temperature = choices.temperature === "row" ? "rows" : masked ? 0.7 : 1;
        const [logProb, entropy, vocabMean] = [i % 4 !== 3, i % 3 !== 2, i % 2 === 0];
        const only = { logProb, entropy: entropy || !logProb, vocabMean };
        const make = () =>
          makeLinearCase({ ...size, ...only, dtype, temperature, masked, seed: i + 1 });
        const name =
          `${dtype} [${size.tokens}, ${size.width}] x [${size.vocab}, ${size.width}], ` +
          `temperature ${choices.temperature === "row" ? "a row" : temperature}` +
          `${masked ? ", masked" : ""}${size.chunkBytes ? ", in chunks" : ""}`;
        return [
          { family, name: `forward ${name}`, run: (e) => checkLinearForward(e, make()) },
          { family, name: `backward ${name}`, run: (e) => checkLinearBackward(e, make()) },
        ];
      },
    ),
  );
}
