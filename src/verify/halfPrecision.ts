import type { Engine } from "../engine/engine.js";
import { add, addBias, fill, scale, sumRows } from "../engine/nn/elementwise.js";
import { gatherRows, scatterAddRows, scatterRows } from "../engine/nn/embed.js";
import { matmul } from "../engine/nn/matmul.js";
import { rope } from "../engine/nn/rope.js";
import { swiglu, swigluBackward } from "../engine/nn/swiglu.js";
import type { Tensor } from "../engine/tensor.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values } from "./compare.js";
import { Random, rounding, typed, widen } from "./inputs.js";

const [rows, width] = [6, 52];

interface Operation {
  family: string;
  name: string;
  /** @param x three tensors [rows, width] and one [width], of one type */
  run(engine: Engine, x: readonly [Tensor, Tensor, Tensor, Tensor]): Record<string, Tensor>;
}

const ids = Int32Array.of(3, 0, 3, 5, 2, 3);
const distinct = Int32Array.of(3, 0, 1, 5, 2, 4);

const operations: readonly Operation[] = [
  {
    family: "elementwise",
    name: "add, bias, sum of rows, scale and fill",
    run(engine, [a, b, c, bias]) {
      const same = engine.zeros([77], a.dtype);
      fill(engine, same, 0.7);
      return {
        sum: add(engine, a, b),
        biased: addBias(engine, a, bias),
        rows: sumRows(engine, a),
        scaled: scale(engine, -0.7, a),
        accumulated: scale(engine, 0.3, a, { out: c, accumulate: true }),
        same,
      };
    },
  },
  {
    family: "embed",
    name: "gather, scatter, and scatter-add into float32",
    run(engine, [table, dY, x]) {
      const dTable = engine.zeros([rows, width]);
      scatterAddRows(engine, dY, ids, dTable);
      const gathered = gatherRows(engine, table, ids);
      scatterRows(engine, x, distinct, table);
      return { gathered, table, dTable };
    },
  },
  {
    family: "rope",
    name: "there and back",
    run(engine, [x]) {
      const heads = x.view([rows, 2, width / 2]);
      const positions = Int32Array.of(0, 1, 77, 4095, 131071, 1_000_000);
      return {
        y: rope(engine, heads, positions),
        back: rope(engine, heads, positions, { inverse: true }),
      };
    },
  },
  {
    family: "swiglu",
    name: "forward and backward",
    run: (engine, [gate, up, dY]) => ({
      y: swiglu(engine, gate, up),
      ...swigluBackward(engine, { gate, up, dY }),
    }),
  },
];

/** The same numbers in 16 bits and in float32: the 16-bit results are the others, rounded once. */
function checkOperation(engine: Engine, dtype: "bf16" | "f16", { run }: Operation): string | null {
  const random = new Random(4);
  const shapes = [[rows, width], [rows, width], [rows, width], [width]];
  const inputs = shapes.map((shape) => ({
    shape,
    ...typed(random.normals(shape.reduce((a, b) => a * b)), dtype),
  }));
  type Four = [Tensor, Tensor, Tensor, Tensor];
  const narrow = inputs.map(({ data, shape }) => engine.tensor(data, shape, dtype)) as Four;
  const wide = inputs.map(({ numbers, shape }) =>
    engine.tensor(Float32Array.from(numbers), shape),
  ) as Four;
  // An accumulator starts from the same number, so it too is rounded once.
  const [got, want] = [run(engine, narrow), run(engine, wide)];
  return firstOf(
    ...Object.entries(want).map(([name, tensor]) => {
      const data = got[name]!.readSync();
      const exact = got[name]!.dtype === "f32";
      return sameBits(name, data, exact ? tensor.readSync() : typed(values(tensor), dtype).data);
    }),
  );
}

/** Sums of exact products: n roundings of what was added, and one of the result. */
function checkMatmul(engine: Engine, dtype: "bf16" | "f16"): string | null {
  const random = new Random(8);
  const [m, k, n] = [5, 70, 9];
  const a = typed(random.normals(m * k), dtype);
  const b = typed(random.normals(n * k), dtype);
  const want = new Float64Array(m * n);
  const size = new Float64Array(m * n);
  for (let i = 0; i < m * n; ++i) {
    for (let p = 0; p < k; ++p) {
      const product = a.numbers[Math.floor(i / n) * k + p]! * b.numbers[(i % n) * k + p]!;
      want[i]! += product;
      size[i]! += Math.abs(product);
    }
  }
  const right = engine.tensor(b.data, [n, k], dtype);
  const tolerance = (i: number) => k * F32_ROUNDING * size[i]!;
  const types = [dtype, "f32"] as const;
  return firstOf(
    ...types.flatMap((left) => {
      const data = left === "f32" ? Float32Array.from(a.numbers) : a.data;
      const x = engine.tensor(data, [m, k], left);
      const wide = matmul(engine, x, right, { transposeB: true });
      const narrow = matmul(engine, x, right, { transposeB: true, dtype });
      return [
        close(`${left} product`, values(wide), want, tolerance),
        close(`${left} product, rounded`, widen(narrow.readSync(), dtype), want, (i) => {
          return tolerance(i) + rounding[dtype] * Math.abs(want[i]!);
        }),
      ];
    }),
  );
}

export function halfPrecisionChecks(): Check[] {
  return (["bf16", "f16"] as const).flatMap((dtype) => [
    ...operations.map((operation) => ({
      family: operation.family,
      name: `${dtype}, ${operation.name}: as float32, rounded once`,
      run: (engine: Engine) => checkOperation(engine, dtype, operation),
    })),
    {
      family: "matmul",
      name: `${dtype} operands, and float32 by ${dtype}`,
      run: (engine: Engine) => checkMatmul(engine, dtype),
    },
  ]);
}
