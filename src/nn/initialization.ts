import type { WeightSpec } from "./modules/module.js";
import { deriveSeed, deriveStream, nameIds, random } from "./random.js";

/** How large fresh weights are. */
export interface InitializationOptions {
  /** Standard deviation of embeddings and projections; default 0.02. */
  std?: number;
  /**
   * Layers that add to the residual stream, two per decoder layer: their projections shrink by
   * 1 / sqrt of it, so that the stream's variance at the start does not grow with depth (GPT-2).
   */
  residualLayers: number;
}

/**
 * Starting values of a weight: normal; norms 1, biases and value heads 0. Each weight has a stream of its
 * own, named by (seed, name): its values do not depend on what else the network has.
 */
export function initialValues(
  { name, shape, role }: WeightSpec,
  seed: number,
  { std = 0.02, residualLayers }: InitializationOptions,
): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (role === "norm") return values.fill(1);
  if (role === "bias" || role === "value") return values;
  const own = role === "residual" ? std / Math.sqrt(residualLayers) : std;
  const label = deriveSeed(0, ...nameIds(name));
  const { normal } = random(deriveStream(seed, label));
  for (let i = 0; i < values.length; ++i) values[i] = own * normal();
  return values;
}
