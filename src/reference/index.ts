// What the kernels are held against: the formulas in float64, as plain as they can be written.
export * from "./adamw.js";
export * from "./attention.js";
export * from "./divergence.js";
export * from "./embed.js";
export * from "./finiteDifference.js";
export * from "./float16.js";
export * from "./groupNorm.js";
export * from "./logProb.js";
export * from "./matmul.js";
export * from "./rmsNorm.js";
export * from "./rope.js";
export * from "./sample.js";
export * from "./surrogate.js";
export * from "./swiglu.js";
