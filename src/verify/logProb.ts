import type { Engine } from "../engine/engine.js";
import { logProb, logProbBackward } from "../engine/kernels/logProb.js";
import type { Tensor } from "../engine/tensor.js";
import {
  distribution,
  type LogProbRows,
  logProbGradient,
  logProb as reference,
} from "../reference/logProb.js";
import { type Check, firstOf } from "./check.js";
import { close, values } from "./compare.js";
import {
  type Float,
  logitRows,
  Random,
  rounding,
  type Typed,
  targetsOf,
  typed,
  widen,
} from "./inputs.js";

/** One call, its inputs as the kernel sees them and as numbers. */
export interface LogProbCase {
  dtype: Float;
  vocab: number;
  logits: Typed;
  targets: Int32Array;
  temperature: number;
  mask: Uint8Array | null;
  /** Gradients that come from above. */
  dLogProb: Float32Array;
  dEntropy: Float32Array | null;
}

export interface CaseOptions {
  dtype?: Float;
  tokens: number;
  vocab: number;
  temperature?: number;
  masked?: boolean;
  entropy?: boolean;
  /** Added to every logit. */
  shift?: number;
  seed?: number;
}

export function makeCase(options: CaseOptions): LogProbCase {
  const { dtype = "f32", tokens, vocab, temperature = 1, masked = false, entropy = true } = options;
  const random = new Random(options.seed ?? 1);
  const logits = typed(logitRows(random, tokens, vocab, options.shift), dtype);
  return {
    dtype,
    vocab,
    logits,
    targets: targetsOf(random, logits.numbers, vocab),
    temperature,
    mask: masked ? random.mask(tokens) : null,
    dLogProb: random.normals(tokens),
    dEntropy: entropy ? random.normals(tokens) : null,
  };
}

export function rowsOf(c: LogProbCase): LogProbRows {
  const { vocab, targets, temperature, mask } = c;
  return { logits: c.logits.numbers, vocab, targets, temperature, mask };
}

/** The logits on the device. */
export function upload(engine: Engine, c: LogProbCase): Tensor {
  return engine.tensor(c.logits.data, [c.targets.length, c.vocab], c.dtype);
}

export function forward(engine: Engine, c: LogProbCase, logits = upload(engine, c)) {
  const { temperature, mask } = c;
  return logProb(engine, logits, c.targets, { temperature, mask, entropy: true });
}

export function backward(engine: Engine, c: LogProbCase, inPlace = false): Tensor {
  const logits = upload(engine, c);
  const { stats, entropy } = forward(engine, c, logits);
  return logProbBackward(engine, {
    logits,
    targets: c.targets,
    stats,
    dLogProb: c.dLogProb,
    dEntropy: c.dEntropy,
    entropy: c.dEntropy === null ? null : entropy,
    temperature: c.temperature,
    mask: c.mask,
    out: inPlace ? logits : undefined,
  });
}

/** The contract of log_prob.h: 2e-6 + 2e-7 max |z|, of float64 on the same inputs. */
export function forwardTolerance(c: LogProbCase): (row: number) => number {
  return (row) => {
    let largest = 0;
    for (let v = 0; v < c.vocab; ++v) {
      const z = Math.abs(c.logits.numbers[row * c.vocab + v]! / c.temperature);
      if (z !== Number.POSITIVE_INFINITY && z > largest) largest = z;
    }
    return 2e-6 + 2e-7 * largest;
  };
}

export function checkForward(engine: Engine, c: LogProbCase): string | null {
  const got = forward(engine, c);
  const want = reference(rowsOf(c));
  const tolerance = forwardTolerance(c);
  return firstOf(
    close("logProb", values(got.logProb), want.logProb, tolerance),
    close("entropy", values(got.entropy!), want.entropy, tolerance),
  );
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
    const [dL, dH] = [Math.abs(c.dLogProb[row]!), Math.abs(c.dEntropy?.[row] ?? 0)];
    const hit = v === c.targets[row] ? dL : 0;
    const size = hit + p * (dL + (far + current.entropy) * dH);
    const error = p * (6e-7 + 3e-7 * far) * (dL + (far + current.entropy + 1) * dH);
    const absolute = error + p * dH * entropyError;
    return tiny + ((rounding[c.dtype] + 4 * rounding.f32) * size + absolute) / c.temperature;
  };
}

export function checkBackward(engine: Engine, c: LogProbCase, inPlace: boolean): string | null {
  const got = widen(backward(engine, c, inPlace).readSync(), c.dtype);
  const want = logProbGradient(rowsOf(c), c.dLogProb, c.dEntropy);
  return close("dLogits", got, want, backwardTolerance(c));
}

/** Every dtype and size against float64, forward and backward. */
export function logProbValueChecks(device: Engine["device"]): Check[] {
  const family = "log-prob";
  const checks: Check[] = [];
  // 31 and 50,260 leave rows unaligned and a partial vector; 151,936 is Qwen's vocabulary.
  const sizes = [1, 2, 31, 1000, 4096];
  const large = device === "emulated" ? [] : [50260, 151936];
  for (const dtype of ["f32", "bf16", "f16"] as const) {
    for (const vocab of [...sizes, ...large]) {
      const tokens = vocab > 4096 ? 3 : 5;
      for (const temperature of [1, 0.7]) {
        const masked = temperature !== 1;
        const make = () => makeCase({ dtype, tokens, vocab, temperature, masked, seed: vocab });
        const name = `${dtype} V=${vocab} temperature ${temperature}${masked ? " masked" : ""}`;
        checks.push(
          { family, name: `forward ${name}`, run: (engine) => checkForward(engine, make()) },
          {
            family,
            name: `backward ${name}${masked ? " in place" : ""}`,
            run: (engine) => checkBackward(engine, make(), masked),
          },
        );
      }
    }
  }
  const add = (name: string, options: CaseOptions) =>
    checks.push(
      { family, name: `forward ${name}`, run: (e) => checkForward(e, makeCase(options)) },
      { family, name: `backward ${name}`, run: (e) => checkBackward(e, makeCase(options), false) },
    );
  if (device === "emulated") add("f32 V=50260, one row", { tokens: 1, vocab: 50260 });
  add("no rows", { tokens: 0, vocab: 31 });
  add("one row", { tokens: 1, vocab: 31 });
  add("many rows", { tokens: device === "emulated" ? 40 : 3000, vocab: 31 });
  add("without entropy gradient", { tokens: 4, vocab: 1000, entropy: false });
  add("logits around 10,000", { tokens: 4, vocab: 1000, shift: 1e4 });
  add("logits around -200", { tokens: 4, vocab: 1000, shift: -200 });
  add("bf16 logits around -10,000", { tokens: 4, vocab: 1000, shift: -1e4, dtype: "bf16" });
  add("temperature 0.01", { tokens: 4, vocab: 1000, temperature: 0.01 });
  add("temperature 50", { tokens: 4, vocab: 1000, temperature: 50 });
  return checks;
}
