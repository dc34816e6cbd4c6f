import type { Engine } from "../engine/engine.js";
import { matmul } from "../engine/nn/matmul.js";
import { type MatmulShape, matmul as reference } from "../reference/matmul.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, identical, sameBits, values } from "./compare.js";
import { Random, withThreads } from "./inputs.js";

const family = "matmul";

function transpose(x: Float32Array, rows: number): Float32Array {
  const columns = rows === 0 ? 0 : x.length / rows;
  return x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);
}

interface Operands {
  a: Float32Array;
  b: Float32Array;
}

function operands({ m, n, k }: MatmulShape, seed = 1): Operands {
  const random = new Random(seed);
  return { a: random.normals(m * k), b: random.normals(k * n) };
}

/** op(a) op(b) on the device, from operands that are given as [M, K] and [K, N]. */
function multiply(engine: Engine, { a, b }: Operands, shape: MatmulShape, into?: Float32Array) {
  const { m, n, k, transposeA = false, transposeB = false } = shape;
  const left = engine.tensor(transposeA ? transpose(a, m) : a, transposeA ? [k, m] : [m, k]);
  const right = engine.tensor(transposeB ? transpose(b, k) : b, transposeB ? [n, k] : [k, n]);
  const accumulateInto = into === undefined ? undefined : engine.tensor(into, [m, n]);
  return matmul(engine, left, right, { transposeA, transposeB, accumulateInto });
}

/** The largest error of adding product after product in floats: what a kernel must not exceed. */
function plainError({ a, b }: Operands, want: Float64Array, { m, n, k }: MatmulShape): number {
  let worst = 0;
  for (let i = 0; i < m; ++i) {
    for (let j = 0; j < n; ++j) {
      let sum = 0;
      for (let p = 0; p < k; ++p) {
        sum = Math.fround(sum + Math.fround(a[i * k + p]! * b[p * n + j]!));
      }
      worst = Math.max(worst, Math.abs(sum - want[i * n + j]!));
    }
  }
  return worst;
}

function checkProduct(engine: Engine, shape: MatmulShape, accumulate: boolean): string | null {
  const { m, n, k } = shape;
  const given = operands(shape);
  const into = accumulate ? new Random(2).normals(m * n) : undefined;
  const product = reference(given.a, given.b, { m, n, k });
  const want = product.map((x, i) => x + (into?.[i] ?? 0));
  // Twice, since the worst of another order of summation may fall elsewhere.
  const error = 2 * plainError(given, product, shape);
  const got = values(multiply(engine, given, shape, into));
  return close("product", got, want, (i) => error + 2 * F32_ROUNDING * Math.abs(want[i]!) + 1e-37);
}

function shapes(device: Engine["device"]): MatmulShape[] {
  const small = [
    { m: 1, n: 1, k: 1 },
    { m: 3, n: 5, k: 7 },
    { m: 1, n: 130, k: 64 },
    { m: 17, n: 33, k: 65 },
    { m: 64, n: 64, k: 64 },
    { m: 0, n: 4, k: 4 },
    { m: 4, n: 0, k: 4 },
    { m: 4, n: 4, k: 0 },
  ];
  const large = [
    { m: 1, n: 1000, k: 700 },
    { m: 130, n: 257, k: 300 },
    { m: 5, n: 20, k: 5000 },
  ];
  return device === "emulated" ? [...small, { m: 70, n: 130, k: 300 }] : [...small, ...large];
}

export function matmulChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  for (const shape of shapes(device)) {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        for (const accumulate of [false, true]) {
          const name =
            `[${shape.m}, ${shape.k}]${transposeA ? " transposed" : ""} x ` +
            `[${shape.k}, ${shape.n}]${transposeB ? " transposed" : ""}` +
            `${accumulate ? ", accumulating" : ""}`;
          const full = { ...shape, transposeA, transposeB };
          checks.push({ family, name, run: (engine) => checkProduct(engine, full, accumulate) });
        }
      }
    }
  }
  const shape = { m: 37, n: 70, k: 150 };
  checks.push(
    {
      family,
      name: "the bits of an element do not depend on the layout of the operands",
      run(engine) {
        const given = operands(shape);
        const plain = multiply(engine, given, shape);
        const others = [
          { ...shape, transposeA: true },
          { ...shape, transposeB: true },
          { ...shape, transposeA: true, transposeB: true },
        ];
        return firstOf(
          ...others.map((other) => identical("product", multiply(engine, given, other), plain)),
        );
      },
    },
    {
      family,
      name: "a row alone has the bits that it has in a batch",
      run(engine) {
        const { a, b } = operands(shape);
        const { m, n, k } = shape;
        const whole = matmul(engine, engine.tensor(a, [m, k]), engine.tensor(b, [k, n]));
        return firstOf(
          ...[0, 1, 17, 36].map((row) => {
            const one = { a: a.slice(row * k, (row + 1) * k), b };
            const alone = multiply(engine, one, { m: 1, n, k });
            return identical(`row ${row}`, alone, whole.rows(row, row + 1));
          }),
        );
      },
    },
    {
      family,
      name: "a column alone has the bits that it has in a matrix",
      run(engine) {
        const given = operands(shape);
        const { m, n, k } = shape;
        const whole = multiply(engine, given, shape).readSync();
        return firstOf(
          ...[0, 33, 69].map((column) => {
            const b = Float32Array.from({ length: k }, (_, p) => given.b[p * n + column]!);
            const alone = multiply(engine, { a: given.a, b }, { m, n: 1, k }).readSync();
            const want = Float32Array.from({ length: m }, (_, i) => whole[i * n + column]!);
            return sameBits(`column ${column}`, alone, want);
          }),
        );
      },
    },
    {
      family,
      name: "one and two threads give the same bits",
      run(engine) {
        const large = { m: 150, n: 140, k: 90 };
        const [one, two] = withThreads(engine, (own) =>
          multiply(own, operands(large), large).readSync(),
        );
        return sameBits("product", one, two);
      },
    },
    {
      family,
      name: "NaN and infinity stay in their row and column",
      run(engine) {
        const { a, b } = operands(shape);
        a[5 * shape.k + 3] = Number.NaN;
        const got = values(multiply(engine, { a, b }, shape));
        const clean = values(multiply(engine, operands(shape), shape));
        const want = clean.map((x, i) => (Math.floor(i / shape.n) === 5 ? Number.NaN : x));
        return close("product", got, want, 0);
      },
    },
  );
  return checks;
}
