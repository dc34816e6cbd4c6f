/** The vocabulary that every part of firesteel shares: types only. */
export type * from "./block.js";
export type * from "./data.js";
export type * from "./device.js";
export type * from "./environment.js";
export type * from "./forms.js";
export type * from "./loss.js";
export type * from "./metrics.js";
export type * from "./policy.js";
export type * from "./reward.js";
export type * from "./run.js";
export type * from "./sampler.js";
export type * from "./stage.js";
export type * from "./state.js";
export type * from "./system.js";
export type * from "./task.js";
