import { floats } from "../engine/dtype.js";
import type { Engine } from "../engine/engine.js";
import { add } from "../engine/nn/elementwise.js";
import { rmsNorm, rmsNormBackward } from "../engine/nn/rmsNorm.js";
import type { Tensor } from "../engine/tensor.js";
import { finiteDifference } from "../reference/finiteDifference.js";
import { rmsNormGradient, rmsNorm as rmsReference } from "../reference/rmsNorm.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, identical, sameBits, values } from "./compare.js";
import { type Float, Random, rounding, type Typed, typed, widen, withThreads } from "./inputs.js";

interface NormShape {
  rows: number;
  width: number;
  /** Of x. */
  size?: number;
  dtype?: Float;
  /** With a residual, and a gradient that reaches the sum on another way. */
  residual?: boolean;
}

function normBatch({ rows, width, size = 1, dtype = "f32", residual = false }: NormShape) {
  const random = new Random(width);
  const draw = (count: number, scale = 1) => typed(random.normals(count, scale), dtype);
  const x = draw(rows * width, size);
  const weight = draw(width);
  const dY = draw(rows * width);
  const more = residual ? { residual: draw(rows * width, size), dSum: draw(rows * width) } : null;
  return { x, weight, dY, more, eps: 1e-6, rows, width, dtype };
}

type NormBatch = ReturnType<typeof normBatch>;

function norm(engine: Engine, { x, weight, dY, more, eps, rows, width, dtype }: NormBatch) {
  const up = ({ data }: Typed, shape = [rows, width]) => engine.tensor(data, shape, dtype);
  const input = up(x);
  const scale = up(weight, [width]);
  const residual = more === null ? {} : { residual: up(more.residual) };
  const { y, invRms, sum } = rmsNorm(engine, input, scale, { eps, ...residual });
  const dSum = more === null ? {} : { dSum: up(more.dSum) };
  const back = { x: sum ?? input, weight: scale, invRms, dY: up(dY), ...dSum };
  return { y, invRms, ...(sum === null ? {} : { sum }), ...rmsNormBackward(engine, back) };
}

/** Sums of `width` terms in floats lose some roundings more, the more terms there are. */
function sumRoundings(terms: number): number {
  return F32_ROUNDING * (8 + Math.sqrt(terms));
}

/** Against float64, each result allowed its sums' roundings and one more where it has 16 bits. */
function checkNorm(engine: Engine, shape: NormShape): string | null {
  const b = normBatch(shape);
  const { eps, rows, width, dtype, more } = b;
  const [weight, dY] = [b.weight.numbers, b.dY.numbers];
  const got = norm(engine, b);
  const added =
    more &&
    typed(
      Float32Array.from(b.x.numbers, (v, i) => v + more.residual.numbers[i]!),
      dtype,
    );
  const x = (added ?? b.x).numbers;
  const want = rmsReference(x, weight, eps);
  const gradient = rmsNormGradient(x, weight, eps, dY);
  const dX = gradient.dX.map((slope, i) => slope + (more?.dSum.numbers[i] ?? 0));
  const relative = sumRoundings(width);
  const rounded = dtype === "f32" ? 0 : rounding[dtype];
  // What the difference in d x is a difference of.
  const parts = Float64Array.from(x, (value, i) => {
    const r = Math.floor(i / width);
    let dot = 0;
    for (let j = 0; j < width; ++j) {
      dot += Math.abs(dY[r * width + j]! * weight[j]! * x[r * width + j]! * want.inverse[r]!);
    }
    const n = Math.abs(value * want.inverse[r]!);
    const norm = (Math.abs(dY[i]! * weight[i % width]!) + (n * dot) / width) * want.inverse[r]!;
    return norm + Math.abs(more?.dSum.numbers[i] ?? 0);
  });
  const sums = Float64Array.from(weight, (_, j) => {
    let sum = 0;
    for (let r = 0; r < rows; ++r) {
      sum += Math.abs(dY[r * width + j]! * x[r * width + j]! * want.inverse[r]!);
    }
    return sum;
  });
  const numbers = (tensor: Tensor) => widen(tensor.readSync(), dtype);
  return firstOf(
    added && sameBits("sum", got.sum!.readSync(), added.data),
    close("y", numbers(got.y), want.y, (i) => (relative + rounded) * Math.abs(want.y[i]!)),
    close("invRms", values(got.invRms), want.inverse, (r) => relative * want.inverse[r]!),
    close("dX", numbers(got.dX), dX, (i) => relative * parts[i]! + rounded * Math.abs(dX[i]!)),
    close(
      "dWeight",
      values(got.dWeight),
      gradient.dWeight,
      (j) => (relative + sumRoundings(rows)) * sums[j]!,
    ),
  );
}

/** In one pass: the bits of an addition, a norm, its gradient and an addition. */
function checkFused(engine: Engine, rows: number, width: number): string | null {
  const b = normBatch({ rows, width, residual: true });
  const fused = norm(engine, b);
  const { residual, dSum } = b.more!;
  const x = typed(values(add(engine, b.x.data, residual.data)), "f32");
  const apart = norm(engine, { ...b, x, more: null });
  return firstOf(
    sameBits("sum", fused.sum!.readSync(), x.data),
    identical("y", fused.y, apart.y),
    identical("invRms", fused.invRms, apart.invRms),
    identical("dX", fused.dX, add(engine, apart.dX, engine.tensor(dSum.data, [rows, width]))),
    identical("dWeight", fused.dWeight, apart.dWeight),
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
  // A warp's rows, a block's, and more rows than one run has.
  const residuals: [rows: number, width: number][] = [
    [3, 7],
    [2, 776],
    [50, 64],
  ];
  return [
    ...sizes.map(
      ([rows, width]): Check => ({
        family,
        name: `[${rows}, ${width}]`,
        run: (engine) => checkNorm(engine, { rows, width }),
      }),
    ),
    ...floats.flatMap((dtype) =>
      residuals.map(
        ([rows, width]): Check => ({
          family,
          name: `${dtype} [${rows}, ${width}], with a residual`,
          run: (engine) => checkNorm(engine, { rows, width, dtype, residual: true }),
        }),
      ),
    ),
    ...residuals.map(
      ([rows, width]): Check => ({
        family,
        name: `f32 [${rows}, ${width}], in one pass as in several`,
        run: (engine) => checkFused(engine, rows, width),
      }),
    ),
    {
      family,
      name: "bf16 without",
      run: (e) => checkNorm(e, { rows: 5, width: 72, dtype: "bf16" }),
    },
    { family, name: "values of 1e4", run: (e) => checkNorm(e, { rows: 3, width: 64, size: 1e4 }) },
    {
      family,
      name: "values of 1e-5, where eps counts",
      run: (e) => checkNorm(e, { rows: 3, width: 64, size: 1e-5 }),
    },
    { family, name: "zeros", run: (e) => checkNorm(e, { rows: 2, width: 64, size: 0 }) },
    {
      family,
      name: "gradients against central differences",
      run(engine) {
        const b = normBatch({ rows: 3, width: 9 });
        const [x, weight, dY] = [b.x.numbers, b.weight.numbers, b.dY.numbers];
        const objective = (x: ArrayLike<number>, weight: ArrayLike<number>) =>
          rmsReference(x, weight, b.eps).y.reduce((sum, y, i) => sum + y * dY[i]!, 0);
        const got = norm(engine, b);
        const dX = finiteDifference((at) => objective(at, weight), x);
        const dWeight = finiteDifference((at) => objective(x, at), weight);
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
        const b = normBatch({ rows: 300, width: 130, residual: true });
        const [one, two] = withThreads(engine, (own) =>
          Object.values(norm(own, b)).map((tensor) => tensor.readSync()),
        );
        return firstOf(...one.map((array, i) => sameBits(`output ${i}`, array, two[i]!)));
      },
    },
  ];
}
