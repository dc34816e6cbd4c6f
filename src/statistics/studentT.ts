import { checkInteger, invalid } from "../engine/checks.js";

/** The integral of cos^n from 0 to the angle, by its recursion in n. */
function cosinePower(n: number, angle: number): number {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  let sum = n % 2 === 0 ? angle : sin;
  for (let k = n % 2 === 0 ? 2 : 3; k <= n; k += 2) {
    sum = (cos ** (k - 1) * sin + (k - 1) * sum) / k;
  }
  return sum;
}

/**
 * Quantile of Student's t: the value that a t-distributed variable stays below with probability `p`. With
 * t = sqrt(df) tan(angle) the density is cos(angle)^(df - 1) up to a constant, whose integral is a finite sum;
 * the angle is found by bisection to the last bit.
 *
 * @param p in (0, 1)
 * @param df degrees of freedom, an integer in [1, 10^6]
 * @throws FiresteelError ERR_RANGE
 * @example
 * tQuantile(0.975, 2); // 4.302652729...
 */
export function tQuantile(p: number, df: number): number {
  if (typeof p !== "number" || !(p > 0 && p < 1)) {
    throw invalid("ERR_RANGE", "p", "a number in (0, 1)", p);
  }
  checkInteger("df", df, 1, 1e6);
  if (p < 0.5) return -tQuantile(1 - p, df);
  const share = (2 * p - 1) * cosinePower(df - 1, Math.PI / 2);
  let [low, high] = [0, Math.PI / 2];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return Math.sqrt(df) * Math.tan(low);
    if (cosinePower(df - 1, middle) < share) low = middle;
    else high = middle;
  }
}
