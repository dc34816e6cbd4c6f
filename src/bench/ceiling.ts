import type { Engine } from "../engine/engine.js";
import { sumSquares } from "../engine/nn/adamw.js";
import { scale } from "../engine/nn/elementwise.js";
import { measure } from "./measure.js";

/** What the device's memory gives to the plainest kernels, in this very run; GB/s. */
export interface Ceiling {
  /** Reading alone: the sum of squares of a long array. */
  readGbPerS: number;
  /** Reading and writing as much: y = a x. */
  scaleGbPerS: number;
}

export async function measureCeiling(engine: Engine): Promise<Ceiling> {
  // Four times the largest caches of a processor, twenty of a card.
  const count = engine.device === "cuda" ? 2 ** 28 : 2 ** 25;
  const x = engine.zeros([count]);
  const y = engine.zeros([count]);
  const total = engine.zeros([1], "f64");
  try {
    const read = await measure(engine, () => sumSquares(engine, x, total));
    const copy = await measure(engine, () => scale(engine, 0.5, x, { out: y }));
    const gbPerS = (bytes: number, ms: number) => bytes / ms / 1e6;
    return {
      readGbPerS: gbPerS(4 * count, read.medianMs),
      scaleGbPerS: gbPerS(8 * count, copy.medianMs),
    };
  } finally {
    for (const tensor of [x, y, total]) tensor.dispose();
  }
}
