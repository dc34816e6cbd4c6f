/**
 * The vocabulary of systems. Every block is a pure function and a factory that checks its options and
 * makes the function a stage; a loss term's pure function is its kernel, which `firesteel` exports.
 */

export { generalizedAdvantages } from "./advantage/generalizedAdvantage.js";
export {
  type GroupAdvantageOptions,
  type GroupNormalizeOptions,
  groupAdvantages,
  groupNormalize,
} from "./advantage/groupNormalize.js";
export { discountedReturns, rewardToGo } from "./advantage/rewardToGo.js";
export { teacherAdvantage, teacherAdvantages } from "./advantage/teacherAdvantage.js";
export { groupOffsets, mapRows, perAction, withColumn } from "./columns.js";
export { type Conventions, conventions } from "./conventions.js";
export { dropZeroVariance, isConstant, splitByVariance } from "./filter/zeroVariance.js";
export {
  nextCall,
  type ReflectInfo,
  reflect,
  reflectionCourse,
  type SolveCall,
} from "./inference/reflect.js";
export { clippedValueLoss } from "./loss/clippedValue.js";
export { type SurrogateOptions, surrogate } from "./loss/surrogate.js";
export {
  type AnsweredRollouts,
  type JudgeItem,
  type JudgeItemOptions,
  judgeItem,
} from "./observe/judgeItem.js";
export { type RecycleBlockOptions, recycle } from "./observe/recycle.js";
export type { RecyclingOptions } from "./observe/recycleOptions.js";
export {
  balanceVerdicts,
  type FinishedGroup,
  type RecycleOptions,
  recycleStep,
  subsample,
} from "./observe/recycleStep.js";
export { type ReflectionItem, reflectionItem } from "./observe/reflectionItem.js";
export { type OverlongOptions, overlongPenalty, softOverlong } from "./reward/overlongPenalty.js";
export { callReward, reward, rewardContext, weightedSum } from "./reward/reward.js";
export { extraRollouts } from "./rollout/extraRollouts.js";
export { intoGroups, rollout } from "./rollout/rollout.js";
export { compensate, dropPivot, lowerMedian, pivotIndex } from "./select/dropPivot.js";
export { lookOnly } from "./select/lookOnly.js";
export { maskTruncated } from "./select/maskTruncated.js";
export { takeBatch } from "./source/promptQueue.js";
export { recycled } from "./source/recycled.js";
export { type RecycledOnceOptions, recycledOnce } from "./source/recycledOnce.js";
