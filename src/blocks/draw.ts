import { checkNumber } from "../engine/checks.js";

/**
 * One draw from a source of random numbers that a caller brought along.
 *
 * @throws FiresteelError ERR_RANGE where it is outside of [0, 1]
 */
export function draw(uniform: () => number): number {
  return checkNumber("uniform()", uniform(), 0, 1);
}

/** A position in a list of `length`, by one draw. */
export function drawIndex(length: number, uniform: () => number): number {
  return Math.min(Math.floor(draw(uniform) * length), Math.max(0, length - 1));
}
