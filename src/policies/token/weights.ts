import type { Engine } from "../../engine/engine.js";
import { FiresteelError } from "../../engine/error.js";
import { cast } from "../../engine/nn/elementwise.js";
import { fromBfloat16, fromFloat16 } from "../../nn/halfPrecision.js";
import { initialValues } from "../../nn/initialization.js";
import type { ParameterSource, WeightSpec } from "../../nn/modules/module.js";
import { Parameter } from "../../nn/parameter.js";
import type { Safetensors, StoredTensor } from "../../nn/safetensors.js";
import type { PolicyDType, TokenConfig } from "./config.js";

/** Fresh weights: the same seed gives the same ones. */
export function freshWeights(engine: Engine, config: TokenConfig, seed: number): ParameterSource {
  const options = { std: config.initializerRange, residualLayers: 2 * config.numLayers };
  return (spec) => parameter(engine, spec, initialValues(spec, seed, options), config.dtype);
}

/** The weights of a file, whatever their type there. */
export function storedWeights(
  engine: Engine,
  { dtype }: TokenConfig,
  file: Safetensors,
  path: string,
): ParameterSource {
  return (spec) => parameter(engine, spec, weightOf(file, spec, path), dtype);
}

function parameter(
  engine: Engine,
  { name, shape }: WeightSpec,
  values: Float32Array,
  dtype: PolicyDType,
): Parameter {
  const wide = engine.tensor(values, shape);
  if (dtype === "f32") return new Parameter(name, wide);
  try {
    return new Parameter(name, cast(engine, wide, dtype));
  } finally {
    wide.dispose();
  }
}

/** Puts float32 values into a parameter, rounded to its type. */
export function writeWeight({ value }: Parameter, values: Float32Array): void {
  const { engine, dtype, shape } = value;
  if (dtype === "f32") {
    value.write(values);
    return;
  }
  engine.scope(() => {
    cast(engine, engine.tensor(values, shape), dtype as PolicyDType, { out: value });
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
