import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { Engine, type FaultReport } from "../engine/engine.js";
import { decode16, encode16 } from "../reference/float16.js";
import { F32_ROUNDING } from "./compare.js";

export type Float = "f32" | "bf16" | "f16";

/** Numbers that are the same on every run and machine. */
export class Random {
  readonly #generator;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** In [0, 1). */
  uniform(): number {
    return uniformFloat64(this.#generator);
  }

  /** 0 .. count - 1. */
  integer(count: number): number {
    return uniformInt(this.#generator, 0, count - 1);
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Normal f32 values. */
  normals(count: number, scale = 1): Float32Array {
    return Float32Array.from({ length: count }, () => scale * this.normal());
  }

  /** 0 or 1 with a share of ones. */
  mask(count: number, share = 0.7): Uint8Array {
    return Uint8Array.from({ length: count }, () => (this.uniform() < share ? 1 : 0));
  }

  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; --i) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

/** Values of a dtype: what a tensor takes, and the numbers that these bits stand for. */
export interface Typed {
  data: Float32Array | Uint16Array;
  numbers: Float64Array;
}

export function typed(source: ArrayLike<number>, dtype: Float): Typed {
  if (dtype === "f32") {
    const data = Float32Array.from(source);
    return { data, numbers: Float64Array.from(data) };
  }
  const data = new Uint16Array(source.length);
  for (let i = 0; i < data.length; ++i) data[i] = encode16(source[i]!, dtype);
  return { data, numbers: widen(data, dtype) };
}

const decoded = new Map<Float, Float64Array>();

/** The numbers that a tensor's elements stand for. */
export function widen(data: ArrayLike<number>, dtype: Float): Float64Array {
  if (dtype === "f32") return Float64Array.from(data);
  let table = decoded.get(dtype);
  if (table === undefined) {
    table = Float64Array.from({ length: 65536 }, (_, bits) => decode16(bits, dtype));
    decoded.set(dtype, table);
  }
  const numbers = new Float64Array(data.length);
  for (let i = 0; i < data.length; ++i) numbers[i] = table[data[i]!]!;
  return numbers;
}

/** Relative error of rounding once to a dtype. */
export const rounding: Readonly<Record<Float, number>> = {
  f32: F32_ROUNDING,
  bf16: 2 ** -8,
  f16: 2 ** -11,
};

/**
 * Logits of rows as a language model has them: a broad floor and a few tokens far above it. Without
 * those every probability is about 0 and a gradient test proves nothing.
 */
export function logitRows(random: Random, tokens: number, vocab: number, shift = 0): Float64Array {
  const logits = new Float64Array(tokens * vocab);
  for (let i = 0; i < logits.length; ++i) logits[i] = shift + 2 * random.normal();
  const outliers = Math.min(3, vocab);
  for (let t = 0; t < tokens; ++t) {
    for (let n = 0; n < outliers; ++n) {
      logits[t * vocab + random.integer(vocab)] = shift + 8 + 2 * random.normal();
    }
  }
  return logits;
}

/** Half the targets are a row's most likely token, so that both ends of the range occur. */
export function targetsOf(random: Random, logits: ArrayLike<number>, vocab: number): Int32Array {
  return Int32Array.from({ length: logits.length / vocab }, (_, t) => {
    if (t % 2 === 1) return random.integer(vocab);
    let best = 0;
    for (let v = 1; v < vocab; ++v) {
      if (logits[t * vocab + v]! > logits[t * vocab + best]!) best = v;
    }
    return best;
  });
}

/** Runs on an engine of its own (same device) and returns what it said about faulty rows. */
export function faultsOf(
  engine: Engine,
  run: (own: Engine) => string | null,
): { finding: string | null; faults: FaultReport[] } {
  const faults: FaultReport[] = [];
  const own = new Engine({ device: engine.device, threads: 2, onFault: (f) => faults.push(f) });
  try {
    return { finding: run(own), faults };
  } finally {
    own.dispose();
  }
}

/** Runs on engines with 1 and 2 threads and compares what they return. */
export function withThreads<T>(engine: Engine, run: (own: Engine) => T): [one: T, two: T] {
  return [1, 2].map((threads) => {
    const own = new Engine({ device: engine.device, threads });
    try {
      return run(own);
    } finally {
      own.dispose();
    }
  }) as [T, T];
}
