import type { Engine } from "../engine/engine.js";
import { add, addBias, cast, fill, scale, sumRows } from "../engine/nn/elementwise.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values } from "./compare.js";
import { type Float, Random, typed, widen } from "./inputs.js";

/** Every finite and infinite value of a 16-bit type, and NaN. */
function allPatterns(): Uint16Array {
  return Uint16Array.from({ length: 65536 }, (_, bits) => bits);
}

function castCheck(from: Float, to: Float): Check {
  return {
    family: "elementwise",
    name: `cast ${from} to ${to}: nearest even, NaN stays NaN`,
    run(engine) {
      const random = new Random(3);
      // Every exponent, with ties and their neighbours among the fractions.
      const wide = Float32Array.from({ length: 20000 }, (_, i) => {
        const fraction = i % 3 === 0 ? random.integer(4096) / 4096 : random.uniform();
        return (i % 2 === 0 ? 1 : -1) * (1 + fraction) * 2 ** (random.integer(276) - 149);
      });
      const special = [
        0,
        -0,
        65504,
        65519.99,
        65520,
        1e9,
        -Infinity,
        Infinity,
        Number.NaN,
        2 ** -149,
      ];
      const source = from === "f32" ? Float32Array.from([...special, ...wide]) : allPatterns();
      const numbers = widen(source, from);
      const got = cast(engine, engine.tensor(source, undefined, from), to).readSync();
      const want = typed(numbers, to);
      return firstOf(
        close("value", widen(got, to), want.numbers, 0),
        sameBits("bits", withoutNaN(got, numbers), withoutNaN(want.data, numbers)),
      );
    },
  };
}

function withoutNaN(data: ArrayLike<number>, numbers: Float64Array): Float64Array {
  return Float64Array.from(data, (bits, i) => (Number.isNaN(numbers[i]!) ? 0 : bits));
}

export function elementwiseChecks(device: Engine["device"]): Check[] {
  const family = "elementwise";
  const [rows, width] = device === "emulated" ? [40, 37] : [300, 67];
  const random = new Random(2);
  const [a, b] = [random.normals(rows * width), random.normals(rows * width)];
  const bias = random.normals(width);
  const floats = ["f32", "bf16", "f16"] as const;
  return [
    {
      family,
      name: "add, also in place",
      run(engine) {
        const want = a.map((x, i) => x + b[i]!);
        const left = engine.tensor(a);
        return firstOf(
          sameBits("y", add(engine, left, b).readSync(), want),
          sameBits("a", add(engine, left, b, { out: left }).readSync(), want),
        );
      },
    },
    {
      family,
      name: "add a bias to every row",
      run(engine) {
        const want = a.map((x, i) => x + bias[i % width]!);
        const input = engine.tensor(a, [rows, width]);
        return sameBits("y", addBias(engine, input, bias).readSync(), want);
      },
    },
    {
      family,
      name: "sum of rows",
      run(engine) {
        const want = new Float64Array(width);
        const size = new Float64Array(width);
        for (const [i, x] of a.entries()) {
          want[i % width] = want[i % width]! + x;
          size[i % width] = size[i % width]! + Math.abs(x);
        }
        const got = values(sumRows(engine, engine.tensor(a, [rows, width])));
        return close("y", got, want, (j) => 8 * F32_ROUNDING * size[j]!);
      },
    },
    {
      family,
      name: "scale, and scale into a sum",
      run(engine) {
        const input = engine.tensor(a);
        const sum = scale(engine, -0.7, input, { out: engine.tensor(b), accumulate: true });
        const factor = Math.fround(-0.7);
        return firstOf(
          sameBits(
            "y",
            scale(engine, -0.7, input).readSync(),
            a.map((x) => factor * x),
          ),
          // Fused or not: at most two roundings.
          close(
            "sum",
            values(sum),
            Float64Array.from(a, (x, i) => b[i]! + factor * x),
            (i) => {
              return 2 * F32_ROUNDING * (Math.abs(b[i]!) + Math.abs(factor * a[i]!));
            },
          ),
        );
      },
    },
    {
      family,
      name: "fill",
      run(engine) {
        const y = engine.empty([1003]);
        fill(engine, y, -2.5);
        return sameBits("y", y.readSync(), new Float32Array(1003).fill(-2.5));
      },
    },
    ...floats.flatMap((from) =>
      floats.filter((to) => to !== from).map((to) => castCheck(from, to)),
    ),
  ];
}
