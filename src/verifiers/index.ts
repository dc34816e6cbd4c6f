/**
 * Checking answers: pure functions of an answer and a label, and the rewards that they make.
 *
 * @module
 */

export { firstBoxed, lastBoxed } from "./boxed.js";
export { choice, chosenLetter } from "./choice.js";
export { exact } from "./exact.js";
export { type Extraction, extractions } from "./extract.js";
export { type Blank, type FillInOptions, fillIn } from "./fillIn.js";
export { math } from "./math.js";
export { type NumericOptions, numeric } from "./numeric.js";
export { type VerifiedOptions, type Verifier, type VerifierName, verified } from "./verified.js";
