import type { DType, TypedArray } from "../engine/dtype.js";
import type { Engine } from "../engine/engine.js";
import type { Tensor } from "../engine/tensor.js";
import { type Float, Random, typed } from "../verify/inputs.js";

/** Data of one argument, for the kernel, its float64 reference and the peers alike. */
export interface HostArray {
  dtype: DType;
  /** Of `data`. */
  shape: readonly number[];
  data: TypedArray;
  /** How often `data` stands one after the other: no kernel's time depends on the values. Default 1. */
  repeat?: number;
}

export type Inputs = Readonly<Record<string, HostArray>>;
export type Tensors = Readonly<Record<string, Tensor>>;

/** Rows of normal values with few different ones among them, the same on every run. */
export function normals(
  seed: number,
  shape: readonly [rows: number, ...rest: number[]],
  { dtype = "f32" as Float, scale = 1, different = shape[0] } = {},
): HostArray {
  const [rows, ...rest] = shape;
  const distinct = rows % different === 0 ? different : rows;
  const width = rest.reduce((a, b) => a * b, 1);
  const { data } = typed(new Random(seed).normals(distinct * width, scale), dtype);
  return { dtype, shape: [distinct, ...rest], data, repeat: rows / distinct };
}

export function host(
  data: TypedArray,
  dtype: DType,
  shape: readonly number[] = [data.length],
  repeat = 1,
): HostArray {
  return { dtype, shape, data, repeat };
}

/** The whole array on the device. */
export function upload(engine: Engine, { dtype, shape, data, repeat = 1 }: HostArray): Tensor {
  const [rows, ...rest] = shape as [number, ...number[]];
  const tensor = engine.empty([rows * repeat, ...rest], dtype);
  for (let i = 0; i < repeat; ++i) {
    const part = tensor.rows(i * rows, (i + 1) * rows);
    part.write(data);
    part.dispose();
  }
  return tensor;
}

export function uploadAll(engine: Engine, inputs: Inputs): Tensors {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, array]) => [name, upload(engine, array)]),
  );
}
