import type { Engine } from "../engine/engine.js";
import { sumSquares } from "../engine/nn/adamw.js";
import { scale } from "../engine/nn/elementwise.js";
import { matmul } from "../engine/nn/matmul.js";
import { measure } from "./measure.js";

/** What this machine gives to the plainest kernels, in this very run: one sample in five was faster. */
export interface Ceilings {
  /** Reading alone: the sum of squares of a long array, or on the CPU memcmp where that is faster. */
  readGbPerS: number;
  /** Reading and writing as much: y = a x. */
  scaleGbPerS: number;
  /** The same in place, where nothing is fetched that is only to be overwritten: x = a x. */
  updateGbPerS: number;
  /** firesteel's own f32 product of [1024, 1024]. What others make of it is among the peers. */
  gemmGflopPerS: number;
  /** Any call: the scale of one number, enqueued, run and waited for in sequence. */
  callMs: number;
}

const gemmSize = 1024;

export async function measureCeilings(engine: Engine): Promise<Ceilings> {
  // Four times the largest caches of a processor, twenty of a card.
  const count = engine.device === "cuda" ? 2 ** 28 : 2 ** 25;
  const x = engine.zeros([count]);
  const y = engine.zeros([count]);
  const total = engine.zeros([1], "f64");
  const one = engine.zeros([1]);
  const a = engine.zeros([gemmSize, gemmSize]);
  try {
    const read = await measure(engine, () => sumSquares(engine, x, total));
    const copy = await measure(engine, () => scale(engine, 0.5, x, { out: y }));
    const update = await measure(engine, () => scale(engine, 0.5, x, { out: x }));
    const product = await measure(engine, () => matmul(engine, a, a));
    const call = await measure(engine, () => scale(engine, 0.5, one, { out: one }));
    const perS = (work: number, ms: number) => work / ms / 1e6;
    return {
      readGbPerS: perS(4 * count, read.p20Ms),
      scaleGbPerS: perS(8 * count, copy.p20Ms),
      updateGbPerS: perS(8 * count, update.p20Ms),
      gemmGflopPerS: perS(2 * gemmSize ** 3, product.p20Ms),
      callMs: call.medianMs,
    };
  } finally {
    for (const tensor of [x, y, total, one, a]) tensor.dispose();
  }
}

/** The better of two measurements, each by itself. */
export function bestOf(a: Ceilings, b: Ceilings): Ceilings {
  return {
    readGbPerS: Math.max(a.readGbPerS, b.readGbPerS),
    scaleGbPerS: Math.max(a.scaleGbPerS, b.scaleGbPerS),
    updateGbPerS: Math.max(a.updateGbPerS, b.updateGbPerS),
    gemmGflopPerS: Math.max(a.gemmGflopPerS, b.gemmGflopPerS),
    callMs: Math.min(a.callMs, b.callMs),
  };
}

/** What a call moves and computes, in bytes and flops. */
export interface Load {
  reads: number;
  writes: number;
  flops: number;
  /** What is written was read before. */
  inPlace?: boolean;
}

/** Milliseconds below which the machine cannot do it, and which of its limits that is. */
export function limitOf(
  load: Load,
  ceilings: Ceilings,
  small = false,
): { ms: number; ceiling: "memory" | "gemm" | "call" } {
  if (small) return { ms: ceilings.callMs, ceiling: "call" };
  const { readGbPerS, scaleGbPerS, updateGbPerS, gemmGflopPerS } = ceilings;
  // Scale takes 2 / scale for a byte each way; without the reading, a byte written costs the rest.
  const bothWays = load.inPlace ? updateGbPerS : scaleGbPerS;
  const perRead = 1 / readGbPerS;
  const perWrite = Math.max(0, 2 / bothWays - perRead);
  const memory = (load.reads * perRead + load.writes * perWrite) / 1e6;
  const gemm = load.flops / gemmGflopPerS / 1e6;
  return gemm > memory ? { ms: gemm, ceiling: "gemm" } : { ms: memory, ceiling: "memory" };
}
