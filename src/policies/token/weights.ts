import type { Engine } from "../../engine/engine.js";
import { cast } from "../../engine/nn/elementwise.js";
import { initialValues } from "../../nn/initialization.js";
import type { ParameterSource, WeightSpec } from "../../nn/modules/module.js";
import { Parameter } from "../../nn/parameter.js";
import type { Safetensors } from "../../nn/safetensors.js";
import { weightOf } from "../weightFile.js";
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
