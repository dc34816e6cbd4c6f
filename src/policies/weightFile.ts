import type { Float } from "../engine/dtype.js";
import { FiresteelError } from "../engine/error.js";
import { cast } from "../engine/nn/elementwise.js";
import { fromBfloat16, fromFloat16 } from "../nn/halfPrecision.js";
import type { WeightSpec } from "../nn/modules/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { Safetensors, StoredTensor } from "../nn/safetensors.js";

/** Puts float32 values into a parameter, rounded to its type. */
export function writeWeight({ value }: Parameter, values: Float32Array): void {
  const { engine, dtype, shape } = value;
  if (dtype === "f32") {
    value.write(values);
    return;
  }
  engine.scope(() => {
    cast(engine, engine.tensor(values, shape), dtype as Float, { out: value });
  });
}

/**
 * A weight of a file, as float32.
 * @throws FiresteelError ERR_CHECKPOINT where it is missing or does not fit
 */
export function weightOf(
  { tensors }: Safetensors,
  { name, shape }: Pick<WeightSpec, "name" | "shape">,
  path: string,
): Float32Array {
  const found = tensors.get(name);
  const expected = `Expected ${name} [${shape.join(", ")}] in ${path}`;
  if (found === undefined) throw new FiresteelError("ERR_CHECKPOINT", `${expected}: missing`);
  if (found.shape.join() !== shape.join()) {
    const came = `its shape is [${found.shape.join(", ")}]`;
    throw new FiresteelError("ERR_CHECKPOINT", `${expected} but ${came}`);
  }
  const values = toFloat32(found);
  if (values !== null) return values;
  throw new FiresteelError("ERR_CHECKPOINT", `${expected} as f32, bf16 or f16, not ${found.dtype}`);
}

/** Weights that nobody asks for mean that the file belongs to another network. */
export function checkNoOthers(
  { tensors }: Safetensors,
  names: readonly string[],
  path: string,
): void {
  const known = new Set(names);
  const others = [...tensors.keys()].filter((name) => !known.has(name));
  if (others.length === 0) return;
  const shown = others.slice(0, 3).join(", ");
  throw new FiresteelError(
    "ERR_CHECKPOINT",
    `Expected only this network's weights in ${path} but found ${others.length} more: ${shown}`,
  );
}

function toFloat32({ dtype, data }: StoredTensor): Float32Array | null {
  if (dtype === "f32") return data as Float32Array;
  if (dtype === "bf16") return fromBfloat16(data as Uint16Array);
  if (dtype === "f16") return fromFloat16(data as Uint16Array);
  return null;
}
