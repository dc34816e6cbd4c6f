import { rope } from "../engine/nn/rope.js";
import { rope as ropeReference } from "../reference/rope.js";
import type { Check } from "./check.js";
import { close, F32_ROUNDING, values } from "./compare.js";
import { Random } from "./inputs.js";

export function ropeChecks(): Check[] {
  const family = "rope";
  const positions = Int32Array.of(0, 1, 2, 77, 4095, 131071, 1_000_000);
  const cases: [heads: number, headDim: number, base: number, inverse: boolean][] = [
    [1, 2, 10_000, false],
    [4, 32, 10_000, false],
    [4, 32, 10_000, true],
    [3, 20, 1_000_000, false],
    [2, 128, 500_000, true],
  ];
  return cases.map(([heads, headDim, base, inverse]) => ({
    family,
    name: `${heads} heads, D = ${headDim}, base ${base}${inverse ? ", inverse" : ""}, positions to 1e6`,
    run(engine) {
      const x = new Random(headDim).normals(positions.length * heads * headDim);
      const shape = [positions.length, heads, headDim];
      const got = rope(engine, engine.tensor(x, shape), positions, { base, inverse });
      const want = ropeReference(x, positions, { heads, headDim, base, inverse });
      const half = headDim / 2;
      // Cosine, sine, two products and their sum: a rounding each, of the pair's size.
      return close("y", values(got), want, (i) => {
        const pair = i % headDim < half ? i + half : i - half;
        return 4 * F32_ROUNDING * (Math.abs(x[i]!) + Math.abs(x[pair]!));
      });
    },
  }));
}
