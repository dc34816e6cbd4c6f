/**
 * Group-relative reinforcement learning on native kernels.
 *
 * @example
 * import { Engine, logProb, train } from "firesteel";
 */
export type * from "./contract/index.js";
export { type DatasetOptions, datasetSettings, datasetTask } from "./data/datasetTask.js";
export { mixTasks, type WeightedTask } from "./data/mixTasks.js";
export type { ColumnMap } from "./data/questions.js";
export type { TypedArray } from "./engine/dtype.js";
export {
  Engine,
  type EngineInfo,
  type EngineOptions,
  type FaultReport,
  type TensorLike,
} from "./engine/engine.js";
export { type ErrorCode, FiresteelError } from "./engine/error.js";
export type { Out } from "./engine/inputs.js";
export {
  type BernoulliBackwardInputs,
  type BernoulliInputs,
  type BernoulliOptions,
  type BernoulliResult,
  bernoulli,
  bernoulliBackward,
} from "./engine/kernels/bernoulli.js";
export {
  type DivergenceBackwardInputs,
  type DivergenceForwardOptions,
  type DivergenceResult,
  divergence,
  divergenceBackward,
} from "./engine/kernels/divergence.js";
export type { DivergenceOptions, DivergenceTeacher } from "./engine/kernels/divergenceOptions.js";
export { flowTimes } from "./engine/kernels/flowActions.js";
export {
  type FlowCoefficients,
  type FlowNoise,
  type FlowSchedule,
  flowCoefficients,
  type PerSample,
} from "./engine/kernels/flowCoefficients.js";
export {
  type FlowStepBackwardInputs,
  type FlowStepInputs,
  type FlowStepOptions,
  type FlowStepResult,
  flowStep,
  flowStepBackward,
} from "./engine/kernels/flowStep.js";
export {
  type GaussianKlBackwardInputs,
  type GaussianKlInputs,
  type GaussianKlOptions,
  type GaussianKlResult,
  type GaussianLogProbBackwardInputs,
  type GaussianLogProbInputs,
  type GaussianLogProbOptions,
  type GaussianLogProbResult,
  type GaussianOptions,
  gaussianKl,
  gaussianKlBackward,
  gaussianLogProb,
  gaussianLogProbBackward,
} from "./engine/kernels/gaussian.js";
export {
  type GroupLossInputs,
  type GroupLossOptions,
  type GroupLossResult,
  groupLoss,
  groupLossMetrics,
  preferenceMetrics,
} from "./engine/kernels/groupLoss.js";
export {
  type GroupNormOptions,
  type GroupNormResult,
  groupNorm,
} from "./engine/kernels/groupNorm.js";
export type { Combination, KernelTable, Refusal, Tolerance } from "./engine/kernels/kernelTable.js";
export { type KlInputs, type KlOptions, type KlResult, klEstimate } from "./engine/kernels/kl.js";
export { type KlHingeOptions, klHinge } from "./engine/kernels/klHinge.js";
export {
  type LinearLogProbBackwardInputs,
  type LinearLogProbGradients,
  type LinearLogProbOptions,
  type LinearLogProbSettings,
  linearLogProb,
  linearLogProbBackward,
} from "./engine/kernels/linearLogProb.js";
export {
  type LinearLogProbShape,
  linearLogProbMemory,
} from "./engine/kernels/linearLogProbMemory.js";
export {
  type LogitRowsOptions,
  type LogProbBackwardInputs,
  type LogProbOptions,
  type LogProbResult,
  logProb,
  logProbBackward,
} from "./engine/kernels/logProb.js";
export {
  type LogProbMergeOptions,
  type LogProbPartialOptions,
  logProbMerge,
  logProbPartial,
  logProbPartialFields,
} from "./engine/kernels/logProbShards.js";
export {
  type RowScoreBackwardInputs,
  type RowScoreBackwardOptions,
  type RowScoreInputs,
  type RowScoreOptions,
  type RowScoreResult,
  rowScore,
  rowScoreBackward,
} from "./engine/kernels/rowScore.js";
export {
  type SurrogateMetric,
  surrogate,
  surrogateMetrics,
} from "./engine/kernels/surrogate.js";
export type {
  SurrogateCallOptions,
  SurrogateInputs,
  SurrogateLimits,
  SurrogateOptions,
  SurrogateResult,
} from "./engine/kernels/surrogateArguments.js";
export { kernelTables } from "./engine/kernels/tables.js";
export {
  type TokenLossInputs,
  type TokenLossOptions,
  type TokenLossResult,
  tokenLoss,
} from "./engine/kernels/tokenLoss.js";
export { Offsets, type OffsetsLike } from "./engine/offsets.js";
export { type ReadOptions, Tensor } from "./engine/tensor.js";
export {
  naturalLanguage,
  pairwiseQuestion,
  pointwiseQuestion,
  type QuestionKind,
  reflectionQuestion,
} from "./forms/index.js";
export type { GivenModels } from "./givenModels.js";
export { mixWeights } from "./nn/mixWeights.js";
export type { Parameter } from "./nn/parameter.js";
export { type FlowConfig, flowConfig } from "./policies/flow/config.js";
export { FlowPolicy } from "./policies/flow/flowPolicy.js";
export { openPolicy } from "./policies/openPolicy.js";
export { policyFolder } from "./policies/policyFolder.js";
export { CharTokenizer } from "./policies/token/charTokenizer.js";
export { type PolicyDType, type TokenConfig, tinyConfig } from "./policies/token/config.js";
export type { TokenWatch } from "./policies/token/generate.js";
export { TokenPolicy } from "./policies/token/tokenPolicy.js";
export type {
  Arm,
  ArmRun,
  Claim,
  Judge,
  Measure as ClaimMeasure,
  Results,
} from "./replicate/claim.js";
export { claims } from "./replicate/claims/index.js";
export { allOf, type Comparison, exceeds, type Shown } from "./replicate/compare.js";
export { atEnd, overRun } from "./replicate/measures.js";
export { namedClaim } from "./replicate/plan.js";
export {
  type ReplicateOptions,
  type Replication,
  type ReplicationProgress,
  replicate,
} from "./replicate/replicate.js";
export type { RecorderOptions } from "./report/recorders.js";
export { type WrittenReport, writeReport } from "./report/report.js";
export { EmbeddedSampler } from "./samplers/embedded.js";
export { OpenAISampler } from "./samplers/openai.js";
export type { OpenAISamplerOptions } from "./samplers/openaiOptions.js";
export { type ScoreOptions, type ScoreSummary, scoreFile } from "./score/score.js";
export type { ScoredRollout } from "./score/scoreUnit.js";
export { type PolicyServer, type ServeOptions, serve } from "./serve/serve.js";
export { type Solution, type SolveOptions, solve } from "./solve.js";
export { type Interval, meanInterval } from "./statistics/interval.js";
export { tQuantile } from "./statistics/studentT.js";
export {
  defineSystem,
  type PhaseDefinition,
  type SystemDefinition,
} from "./systems/defineSystem.js";
export { type FromTRL, fromTRL } from "./systems/fromTRL.js";
export { systems } from "./systems/index.js";
export { type SparkOptions, sparkSystem } from "./systems/language/sparkSystem.js";
export { type MixedPart, namedTask, type TaskSource } from "./taskSource.js";
export { tasks } from "./tasks/index.js";
export { namedSystem, type TrainOptions, train } from "./train.js";
export type { StoppedBy } from "./trainer/best.js";
export { type PrintedBlock, printSystem, systemBlocks } from "./trainer/printSystem.js";
export { majorityVote, passAtK } from "./trainer/repeatedSamples.js";
export type { TrainSettings } from "./trainer/settings.js";
export type { TrainResult } from "./trainer/train.js";
export * as verifiers from "./verifiers/index.js";
export { version } from "./version.js";
export type { PublishedWeights } from "./weights/publishedWeights.js";
export { publishWeights } from "./weights/publishWeights.js";
