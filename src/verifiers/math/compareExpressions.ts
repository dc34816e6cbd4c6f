import { approximate, type Budget, evaluate, isExact, type Value } from "./evaluate.js";
import { type Expression, symbolsOf } from "./expression.js";
import { divide, equal, fraction, isLess, magnitude, negate, type Rational } from "./rational.js";

/** Points at which formulas with symbols are compared, and how many of them must say something. */
const points = { most: 32, enough: 4 };
/** Relative; doubles keep about 1e-15 of each operation. */
const tolerance = 1e-12;
/** A fraction that is close to an irrational number equals it only by chance where it is longer. */
const longest = { n: 10n ** 9n, d: 10n ** 5n };

/**
 * Whether two formulas are equal wherever both are defined, exactly or, where that cannot be decided,
 * at `points` of fixed rational numbers: positive ones, negative ones, small and large. Unequal where
 * they are defined at different points, or too rarely to tell.
 */
export function sameExpression(a: Expression, b: Expression, budget: Budget): boolean {
  const infinite = [infinity(a), infinity(b)];
  if (infinite[0] !== 0 || infinite[1] !== 0) return infinite[0] === infinite[1];
  const names = symbolsOf(b, symbolsOf(a));
  if (names.size > 0) return everywhere(names, (at) => compare(of(a, at), of(b, at)));
  return compare(of(a, new Map()), of(b, new Map())) === "same";

  function of(expression: Expression, at: ReadonlyMap<string, Rational>): Value {
    return evaluate(expression, at, budget);
  }
}

/** Whether a1 = b1 and a2 = b2 say the same: their differences are proportional and not constant. */
export function sameEquation(
  [a1, b1]: readonly [Expression, Expression],
  [a2, b2]: readonly [Expression, Expression],
  budget: Budget,
): boolean {
  const difference = (left: Expression, right: Expression): Expression => ({
    kind: "add",
    left,
    right: { kind: "negate", of: right },
  });
  const [first, second] = [difference(a1, b1), difference(a2, b2)];
  const names = [...symbolsOf(first)].sort();
  if (names.length === 0 || names.join() !== [...symbolsOf(second)].sort().join()) return false;
  let ratio: Value | null = null;
  let varies = false;
  let before: Value | null = null;
  const same = everywhere(new Set(names), (at) => {
    const x = evaluate(first, at, budget);
    const y = evaluate(second, at, budget);
    if (isZero(x) || isZero(y)) return isZero(x) && isZero(y) ? "unknown" : "other";
    const found = quotient(x, y);
    if (found === null) return "unknown";
    if (before !== null && compare(before, x) === "other") varies = true;
    before = x;
    if (ratio === null) {
      ratio = found;
      return "same";
    }
    return compare(ratio, found);
  });
  return same && varies;
}

function isZero(value: Value): boolean {
  return isExact(value) ? value.n === 0n : value === 0;
}

function quotient(x: Value, y: Value): Value | null {
  if (isExact(x) && isExact(y)) return divide(x, y);
  const [a, b] = [approximate(x), approximate(y)];
  return Number.isFinite(a) && Number.isFinite(b) ? a / b : null;
}

type Verdict = "same" | "other" | "unknown";

function compare(a: Value, b: Value): Verdict {
  if (isExact(a) && isExact(b)) return equal(a, b) ? "same" : "other";
  const undefinedSides = [a, b].filter((value) => Number.isNaN(value)).length;
  const [x, y] = [approximate(a), approximate(b)];
  if (undefinedSides > 0) {
    const lost = x === Number.POSITIVE_INFINITY || y === Number.POSITIVE_INFINITY;
    return undefinedSides === 2 || lost ? "unknown" : "other";
  }
  if (!Number.isFinite(x) || !Number.isFinite(y)) return "unknown";
  const exact = [a, b].find(isExact);
  if (exact !== undefined && (exact.d > longest.d || isLess(limit, magnitude(exact)))) {
    return Math.abs(x - y) <= tolerance * Math.max(Math.abs(x), Math.abs(y)) ? "unknown" : "other";
  }
  return Math.abs(x - y) <= tolerance * Math.max(Math.abs(x), Math.abs(y)) ? "same" : "other";
}

const limit: Rational = { n: longest.n, d: 1n };

/** Whether enough points say "same" and none says "other". */
function everywhere(
  names: ReadonlySet<string>,
  verdictAt: (at: ReadonlyMap<string, Rational>) => Verdict,
): boolean {
  if (names.size > 12) return false;
  let same = 0;
  for (let point = 0; point < points.most; ++point) {
    const at = new Map([...names].sort().map((name, i) => [name, coordinate(point, i)]));
    const verdict = verdictAt(at);
    if (verdict === "other") return false;
    if (verdict === "same") same += 1;
  }
  return same >= points.enough;
}

/**
 * A fixed point. Most coordinates are fractions with a prime denominator, where formulas that people
 * write have no gaps; every fourth is a large whole number, for factorials and the like. In the first
 * half all are positive.
 */
function coordinate(point: number, symbol: number): Rational {
  let hash = (point * 0x9e3779b1 + (symbol + 1) * 0x85ebca6b) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39) >>> 0;
  hash ^= hash >>> 15;
  const far = point % 4 === 3;
  const denominator = [7, 11, 13][(hash >>> 10) % 3]!;
  const numerator = 1 + ((hash >>> 4) % 39);
  const value = far
    ? { n: BigInt(37 + numerator), d: 1n }
    : fraction(BigInt(numerator + (numerator % denominator === 0 ? 1 : 0)), BigInt(denominator))!;
  const negative = point >= points.most / 2 && (hash >>> 20) % 2 === 0;
  return negative ? negate(value) : value;
}

/** 1 or -1 where a formula is infinity with that sign, else 0. */
function infinity(expression: Expression): number {
  if (expression.kind === "infinity") return 1;
  return expression.kind === "negate" ? -infinity(expression.of) : 0;
}
