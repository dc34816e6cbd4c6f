/**
 * The vocabulary of systems. Every block is a pure function and a factory that checks its options and
 * makes the function a stage.
 */
export * from "./advantage/groupNormalize.js";
export { groupOffsets, mapRows, perAction, withColumn } from "./columns.js";
export * from "./filter/zeroVariance.js";
export * from "./loss/surrogate.js";
export * from "./reward/reward.js";
export * from "./rollout/extraRollouts.js";
export * from "./rollout/rollout.js";
export * from "./select/dropPivot.js";
