import type { Parameter } from "../parameter.js";

/** A part of a network: it names its parameters, and its forward writes to the tape it is given. */
export interface Module {
  readonly parameters: readonly Parameter[];
}

/** What a weight is for: initialisation depends on it. */
export type WeightRole = "embedding" | "projection" | "residual" | "value" | "bias" | "norm";

/** A weight before it exists: its name in files, its shape, and what it is for. */
export interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly role: WeightRole;
}

/**
 * Makes a parameter: with fresh values, or with those of a checkpoint.
 *
 * @example
 * const fresh: ParameterSource = (spec) =>
 *   new Parameter(spec.name, engine.tensor(initialValues(spec, seed, { residualLayers: 1 }), spec.shape));
 */
export type ParameterSource = (spec: WeightSpec) => Parameter;
