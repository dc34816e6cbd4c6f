/**
 * Group-relative reinforcement learning on native kernels.
 *
 * @example
 * import { Engine, logProb, train } from "firesteel";
 */
export type * from "./contract/index.js";
export type { TypedArray } from "./engine/dtype.js";
export {
  Engine,
  type EngineInfo,
  type EngineOptions,
  type FaultReport,
  type TensorLike,
} from "./engine/engine.js";
export { type ErrorCode, FiresteelError } from "./engine/error.js";
export {
  type DivergenceBackwardInputs,
  type DivergenceResult,
  divergence,
  divergenceBackward,
} from "./engine/kernels/divergence.js";
export type { DivergenceOptions, DivergenceTeacher } from "./engine/kernels/divergenceOptions.js";
export {
  type GroupNormOptions,
  type GroupNormResult,
  groupNorm,
} from "./engine/kernels/groupNorm.js";
export {
  type LogProbBackwardInputs,
  type LogProbOptions,
  type LogProbResult,
  logProb,
  logProbBackward,
} from "./engine/kernels/logProb.js";
export {
  type SurrogateInputs,
  type SurrogateOptions,
  type SurrogateResult,
  surrogate,
  surrogateMetrics,
} from "./engine/kernels/surrogate.js";
export { Offsets, type OffsetsLike } from "./engine/offsets.js";
export { type ReadOptions, Tensor } from "./engine/tensor.js";
export { CharTokenizer } from "./policies/token/charTokenizer.js";
export { type TokenConfig, tinyConfig } from "./policies/token/config.js";
export { TokenPolicy } from "./policies/token/tokenPolicy.js";
export { EmbeddedSampler } from "./samplers/embedded.js";
export {
  defineSystem,
  type PhaseDefinition,
  type SystemDefinition,
} from "./systems/defineSystem.js";
export { systems } from "./systems/index.js";
export { tasks } from "./tasks/index.js";
export { namedSystem, namedTask, type TrainOptions, train } from "./train.js";
export { printSystem, systemBlocks } from "./trainer/printSystem.js";
export type { TrainSettings } from "./trainer/settings.js";
export type { StepReport, TrainResult, WarmStartReport } from "./trainer/train.js";
export { version } from "./version.js";
