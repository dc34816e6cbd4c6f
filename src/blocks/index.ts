/**
 * The vocabulary of systems. Every block is a pure function and a factory that checks its options and
 * makes the function a stage; a loss term's pure function is its kernel, which `firesteel` exports.
 *
 * A block of your own is written with the same two words as these: `option` declares what it accepts,
 * `parseOptions` checks what was given. docs/concepts/writing-a-system.md has one.
 */

export * as option from "../options/option.js";
export { atStep, type Option } from "../options/option.js";
export { type OptionRules, parseOptions } from "../options/parseOptions.js";
export { constantAdvantage } from "./advantage/constantAdvantage.js";
export {
  explainedVariance,
  generalizedAdvantage,
  generalizedAdvantages,
} from "./advantage/generalizedAdvantage.js";
export {
  type GroupAdvantageOptions,
  type GroupNormalizeOptions,
  groupAdvantages,
  groupNormalize,
} from "./advantage/groupNormalize.js";
export { discountedReturns, rewardToGo } from "./advantage/rewardToGo.js";
export { teacherAdvantage, teacherAdvantages } from "./advantage/teacherAdvantage.js";
export { tokenRewards } from "./advantage/tokenRewards.js";
export { groupOffsets, mapRows, perAction, withColumn } from "./columns.js";
export { type Conventions, conventions } from "./conventions.js";
export { clampAdvantage, clampColumn } from "./credit/clampAdvantage.js";
export { nonzeroScale, scaleByNonzero } from "./credit/scaleByNonzero.js";
export { type WhitenOptions, whiten, whitened } from "./credit/whiten.js";
export {
  type DynamicSamplingOptions,
  dynamicSampling,
  type Refill,
  refill,
} from "./filter/dynamicSampling.js";
export { dropZeroVariance, isConstant, splitByVariance } from "./filter/zeroVariance.js";
export {
  nextCall,
  type ReflectInfo,
  reflect,
  reflectionCourse,
  type SolveCall,
} from "./inference/reflect.js";
export { clippedValue, clippedValueLoss } from "./loss/clippedValue.js";
export { type DistillationOptions, distillation } from "./loss/distillation.js";
export { type FlowKlOptions, flowKl, flowStds } from "./loss/flowKl.js";
export { type GroupLossOptions, groupLoss } from "./loss/groupLoss.js";
export { klHinge } from "./loss/klHinge.js";
export { type SurrogateOptions, surrogate } from "./loss/surrogate.js";
export { topTokens } from "./loss/topTokens.js";
export {
  type AnsweredRollouts,
  type JudgeItem,
  type JudgeItemOptions,
  judgeItem,
} from "./observe/judgeItem.js";
export { type RecycleOptions, recycle } from "./observe/recycle.js";
export type { RecyclingOptions } from "./observe/recycleOptions.js";
export {
  balanceVerdicts,
  type FinishedGroup,
  type RecycleStepOptions,
  recycleStep,
  subsample,
} from "./observe/recycleStep.js";
export { type ReflectionItem, reflectionItem } from "./observe/reflectionItem.js";
export { type GuardOptions, guarded } from "./reward/guarded.js";
export { type KlPenaltyOptions, klPenalty, rowKl, type ScoredActions } from "./reward/klPenalty.js";
export { type OverlongOptions, overlongPenalty, softOverlong } from "./reward/overlongPenalty.js";
export { callReward, reward, rewardContext, weightedSum } from "./reward/reward.js";
export {
  type WorkerReward,
  type WorkerRewardOptions,
  workerReward,
} from "./reward/workerReward.js";
export { demonstrations } from "./rollout/demonstrations.js";
export { extraRollouts } from "./rollout/extraRollouts.js";
export { type FlowRolloutOptions, flowRollout } from "./rollout/flowRollout.js";
export { intoGroups, rollout } from "./rollout/rollout.js";
export { bestWorstPair, bestWorstPairs } from "./select/bestWorstPairs.js";
export { compensate, dropPivot, lowerMedian, pivotIndex } from "./select/dropPivot.js";
export { extremeIndices, keepExtremes } from "./select/keepExtremes.js";
export { lookOnly } from "./select/lookOnly.js";
export { maskTruncated } from "./select/maskTruncated.js";
export { type SampleStepsOptions, sampleSteps, stepMask } from "./select/sampleSteps.js";
export { takeBatch } from "./source/promptQueue.js";
export { recycled } from "./source/recycled.js";
export { type RecycledOnceOptions, recycledOnce } from "./source/recycledOnce.js";
