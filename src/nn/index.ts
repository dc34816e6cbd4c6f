/**
 * What policies are made of: a tape that differentiates the engine's operations, modules, parameters, the optimiser,
 * safetensors files and named random streams. Public as `firesteel/nn`.
 *
 * A policy of your own implements the interface `Policy`; `train({ policy, engine })` takes it. docs/concepts/custom-policy.md
 * walks through one.
 *
 * @example
 * import { Linear, Parameter, Tape } from "firesteel/nn";
 */

export type { Float } from "../engine/dtype.js";
export {
  type AttentionBackwardInputs,
  type AttentionInputs,
  type AttentionResult,
  attention,
  attentionBackward,
} from "../engine/nn/attention.js";
export {
  add,
  addBias,
  cast,
  fill,
  type OutOption,
  scale,
  sumRows,
} from "../engine/nn/elementwise.js";
export { gatherRows, scatterAddRows, scatterRows } from "../engine/nn/embed.js";
export { type MatmulOptions, matmul } from "../engine/nn/matmul.js";
export {
  type RmsNormBackwardInputs,
  type RmsNormOptions,
  type RmsNormResult,
  rmsNorm,
  rmsNormBackward,
} from "../engine/nn/rmsNorm.js";
export { type RopeOptions, rope } from "../engine/nn/rope.js";
export { type SampleOptions, sample } from "../engine/nn/sample.js";
export { type SwigluBackwardInputs, swiglu, swigluBackward } from "../engine/nn/swiglu.js";
export { Slots } from "../engine/offsets.js";
export { fromBfloat16, fromFloat16 } from "./halfPrecision.js";
export { type InitializationOptions, initialValues } from "./initialization.js";
export { mixWeights } from "./mixWeights.js";
export {
  Attention,
  type AttentionBatch,
  type AttentionOptions,
  type LayeredCache,
} from "./modules/attention.js";
export {
  DecoderLayer,
  type DecoderLayerOptions,
  type ResidualStream,
} from "./modules/decoderLayer.js";
export { Linear, type LinearOptions } from "./modules/linear.js";
export type { Module, ParameterSource, WeightRole, WeightSpec } from "./modules/module.js";
export { RmsNorm } from "./modules/rmsNorm.js";
export { SwigluMlp } from "./modules/swigluMlp.js";
export { AdamW, type AdamWOptions } from "./optimizers/adamw.js";
export { Parameter } from "./parameter.js";
export { deriveSeed, deriveStream, type Random, random } from "./random.js";
export {
  readSafetensors,
  type Safetensors,
  type StoredTensor,
  writeSafetensors,
} from "./safetensors.js";
export { type CachedKeys, Tape, type TapeOptions, Var } from "./tape.js";
