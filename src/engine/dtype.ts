import { types } from "node:util";
import type { DType } from "../contract/device.js";
import { FiresteelError } from "./error.js";

export type { DType };

/** The arrays that hold tensors' values on the host: f32, f64, i32, u8, and the bits of bf16 and f16. */
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

interface DTypeInfo {
  /** The addon's code for it (native/runtime/dtype.h). */
  code: number;
  bytes: number;
  array: new (buffer: ArrayBuffer) => TypedArray;
}

export const dtypes: Readonly<Record<DType, DTypeInfo>> = {
  f32: { code: 0, bytes: 4, array: Float32Array },
  bf16: { code: 1, bytes: 2, array: Uint16Array },
  f16: { code: 2, bytes: 2, array: Uint16Array },
  f64: { code: 3, bytes: 8, array: Float64Array },
  i32: { code: 4, bytes: 4, array: Int32Array },
  u8: { code: 5, bytes: 1, array: Uint8Array },
};

/** What a network's weights and activations may be. */
export const floats = ["f32", "bf16", "f16"] as const;
export type Float = (typeof floats)[number];

/** The dtype that a typed array stands for; `undefined` for a `Uint16Array`, which could be two. */
export function dtypeOf(array: TypedArray): DType | undefined {
  if (array instanceof Float32Array) return "f32";
  if (array instanceof Float64Array) return "f64";
  if (array instanceof Int32Array) return "i32";
  if (array instanceof Uint8Array) return "u8";
  return undefined;
}

/** A Proxy of one, or an object with its prototype, is none: their lengths cannot be read. */
export function isTypedArray(value: unknown): value is TypedArray {
  return (
    types.isTypedArray(value) &&
    (value instanceof Float32Array ||
      value instanceof Float64Array ||
      value instanceof Int32Array ||
      value instanceof Uint8Array ||
      value instanceof Uint16Array)
  );
}

/** A zero-filled array of a dtype. @throws FiresteelError ERR_OUT_OF_MEMORY */
export function newArray(dtype: DType, count: number): TypedArray {
  const info = dtypes[dtype];
  try {
    return new info.array(new ArrayBuffer(count * info.bytes));
  } catch (cause) {
    const message = `expected room for ${count * info.bytes} bytes in JavaScript but it was refused`;
    throw new FiresteelError("ERR_OUT_OF_MEMORY", message, { cause });
  }
}
