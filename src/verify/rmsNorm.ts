import type { Engine } from "../engine/engine.js";
import { rmsNorm, rmsNormBackward } from "../engine/nn/rmsNorm.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { rmsNormGradient, rmsNorm as rmsReference } from "../reference/rmsNorm.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values } from "./compare.js";
import { Random, withThreads } from "./inputs.js";

function normBatch(rows: number, width: number, size = 1) {
  const random = new Random(width);
  return {
    x: random.normals(rows * width, size),
    weight: random.normals(width),
    dY: random.normals(rows * width),
    eps: 1e-6,
    rows,
    width,
  };
}

function norm(engine: Engine, { x, weight, dY, eps, rows, width }: ReturnType<typeof normBatch>) {
  const input = engine.tensor(x, [rows, width]);
  const { y, invRms } = rmsNorm(engine, input, weight, eps);
  return { y, invRms, ...rmsNormBackward(engine, { x: input, weight, invRms, dY }) };
}

/** Sums of `width` terms in floats lose some roundings more, the more terms there are. */
function sumRoundings(terms: number): number {
  return F32_ROUNDING * (8 + Math.sqrt(terms));
}

function checkNorm(engine: Engine, b: ReturnType<typeof normBatch>): string | null {
  const { x, weight, dY, eps, rows, width } = b;
  const got = norm(engine, b);
  const want = rmsReference(x, weight, eps);
  const gradient = rmsNormGradient(x, weight, eps, dY);
  const relative = sumRoundings(width);
  // What the difference in d x is a difference of.
  const parts = Float64Array.from(x, (value, i) => {
    const r = Math.floor(i / width);
    let dot = 0;
    for (let j = 0; j < width; ++j) {
      dot += Math.abs(dY[r * width + j]! * weight[j]! * x[r * width + j]! * want.inverse[r]!);
    }
    const n = Math.abs(value * want.inverse[r]!);
    return (Math.abs(dY[i]! * weight[i % width]!) + (n * dot) / width) * want.inverse[r]!;
  });
  const sums = Float64Array.from(weight, (_, j) => {
    let sum = 0;
    for (let r = 0; r < rows; ++r) {
      sum += Math.abs(dY[r * width + j]! * x[r * width + j]! * want.inverse[r]!);
    }
    return sum;
  });
  return firstOf(
    close("y", values(got.y), want.y, (i) => relative * Math.abs(want.y[i]!)),
    close("invRms", values(got.invRms), want.inverse, (r) => relative * want.inverse[r]!),
    close("dX", values(got.dX), gradient.dX, (i) => relative * parts[i]!),
    close(
      "dWeight",
      values(got.dWeight),
      gradient.dWeight,
      (j) => (relative + sumRoundings(rows)) * sums[j]!,
    ),
  );
}

export function rmsNormChecks(): Check[] {
  const family = "rms-norm";
  const sizes: [rows: number, width: number][] = [
    [1, 1],
    [5, 7],
    [3, 64],
    [40, 130],
    [2, 1000],
    [0, 8],
  ];
  return [
    ...sizes.map(
      ([rows, width]): Check => ({
        family,
        name: `[${rows}, ${width}]`,
        run: (engine) => checkNorm(engine, normBatch(rows, width)),
      }),
    ),
    { family, name: "values of 1e4", run: (e) => checkNorm(e, normBatch(3, 64, 1e4)) },
    {
      family,
      name: "values of 1e-5, where eps counts",
      run: (e) => checkNorm(e, normBatch(3, 64, 1e-5)),
    },
    { family, name: "zeros", run: (e) => checkNorm(e, normBatch(2, 64, 0)) },
    {
      family,
      name: "gradients against central differences",
      run(engine) {
        const b = normBatch(3, 9);
        const objective = (x: ArrayLike<number>, weight: ArrayLike<number>) =>
          rmsReference(x, weight, b.eps).y.reduce((sum, y, i) => sum + y * b.dY[i]!, 0);
        const got = norm(engine, b);
        const dX = finiteDifference((x) => objective(x, b.weight), b.x);
        const dWeight = finiteDifference((weight) => objective(b.x, weight), b.weight);
        return firstOf(
          close("dX", values(got.dX), dX, 1e-5),
          close("dWeight", values(got.dWeight), dWeight, 1e-5),
        );
      },
    },
    {
      family,
      name: "one and two threads give the same bits",
      run(engine) {
        const b = normBatch(300, 130);
        const [one, two] = withThreads(engine, (own) =>
          Object.values(norm(own, b)).map((tensor) => tensor.readSync()),
        );
        return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
      },
    },
  ];
}
