import type { Expression } from "./expression.js";
import { callFunction } from "./functions.js";
import {
  add,
  bits,
  divide,
  exactRoot,
  integer,
  integerPower,
  multiply,
  negate,
  type Rational,
  toNumber,
} from "./rational.js";

/**
 * An exact fraction where all that leads to it is exact, else a double. NaN: not defined here.
 * Infinite: too large, or not precise enough to be compared with anything.
 */
export type Value = Rational | number;

/** The work that is left for exact arithmetic, in words of 64 bits. */
export interface Budget {
  left: number;
}

const MAX_BITS = 4096;
const lost = Number.POSITIVE_INFINITY;

export function isExact(value: Value): value is Rational {
  return typeof value === "object";
}

/** As a double; infinite where it would not be told from its neighbours. */
export function approximate(value: Value): number {
  if (!isExact(value)) return value;
  const number = toNumber(value);
  return Number.isNaN(number) ? lost : number;
}

/** @param symbols values of all symbols in the expression */
export function evaluate(
  expression: Expression,
  symbols: ReadonlyMap<string, Rational>,
  budget: Budget,
): Value {
  const of = (part: Expression) => evaluate(part, symbols, budget);
  const kept = (value: Rational | null): Value => {
    if (value === null) return Number.NaN;
    const size = bits(value);
    budget.left -= Math.ceil(size / 64);
    return size > MAX_BITS || budget.left < 0 ? lost : value;
  };
  switch (expression.kind) {
    case "number":
      return kept(expression.value);
    case "symbol":
      return symbols.get(expression.name) ?? Number.NaN;
    case "constant":
      return expression.name === "pi" ? Math.PI : Math.E;
    case "negate": {
      const value = of(expression.of);
      return isExact(value) ? negate(value) : numeric([value], (x) => -x);
    }
    case "factorial":
      return factorial(of(expression.of), kept);
    case "add": {
      const [a, b] = [of(expression.left), of(expression.right)];
      return isExact(a) && isExact(b) ? kept(add(a, b)) : numeric([a, b], sum);
    }
    case "multiply": {
      const [a, b] = [of(expression.left), of(expression.right)];
      return isExact(a) && isExact(b)
        ? kept(multiply(a, b))
        : numeric([a, b], (x, y) => unless0(x * y, x, y));
    }
    case "divide": {
      const [a, b] = [of(expression.left), of(expression.right)];
      if (isExact(a) && isExact(b)) return kept(divide(a, b));
      return numeric([a, b], (x, y) => (y === 0 ? Number.NaN : unless0(x / y, x)));
    }
    case "power":
      return power(of(expression.left), of(expression.right), kept);
    case "call": {
      const values = expression.of.map(of);
      return (
        exactCall(expression.name, values, kept) ??
        numeric(values, (...xs) => callFunction(expression.name, xs))
      );
    }
    default:
      // Infinity and signs of two meanings are no numbers: what compares answers takes them apart.
      return Number.NaN;
  }
}

/** Doubles in, a double out: what is lost stays lost, what is undefined stays undefined. */
function numeric(values: readonly Value[], compute: (...xs: number[]) => number): number {
  const xs = values.map(approximate);
  if (xs.some(Number.isNaN)) return Number.NaN;
  if (!xs.every(Number.isFinite)) return lost;
  const out = compute(...xs);
  if (Number.isNaN(out)) return out;
  // An underflow would make distinct values equal.
  return Math.abs(out) < 1e290 && (out === 0 || Math.abs(out) > 1e-290) ? out : lost;
}

/** A result, lost where it has become 0 though no factor is. */
function unless0(out: number, ...factors: readonly number[]): number {
  return out === 0 && !factors.includes(0) ? lost : out;
}

/**
 * A sum in which digits that matter may have been lost is lost itself: where a summand disappears in
 * the other, or where the two cancel almost. To rounding they cancel whole.
 */
function sum(a: number, b: number): number {
  const [large, small] = [Math.max(Math.abs(a), Math.abs(b)), Math.min(Math.abs(a), Math.abs(b))];
  if (small !== 0 && small < 1e-9 * large) return lost;
  const out = a + b;
  if (Math.abs(out) <= 1e-14 * large) return 0;
  return Math.abs(out) < 1e-7 * large ? lost : out;
}

type Keep = (value: Rational | null) => Value;

function wholeNumber(value: Value, most: number): number | null {
  if (!isExact(value) || value.d !== 1n) return null;
  const number = Number(value.n);
  return Math.abs(number) <= most ? number : null;
}

function factorial(value: Value, kept: Keep): Value {
  const n = wholeNumber(value, 500);
  if (n === null) return lost;
  if (n < 0) return Number.NaN;
  let product = 1n;
  for (let i = 2; i <= n; ++i) product *= BigInt(i);
  return kept(integer(product));
}

function power(base: Value, exponent: Value, kept: Keep): Value {
  if (isExact(base) && isExact(exponent)) {
    if (exponent.d === 1n) {
      const k = wholeNumber(exponent, MAX_BITS);
      if (k === null || Math.abs(k) * bits(base) > 4 * MAX_BITS) {
        return base.d === 1n && base.n === 1n ? base : lost;
      }
      // 0^0 is left open.
      return base.n === 0n && k <= 0 ? Number.NaN : kept(integerPower(base, k));
    }
    const degree = Number(exponent.d);
    if (base.n < 0n && exponent.d % 2n === 0n) return Number.NaN;
    const root = degree <= 64 && bits(base) <= MAX_BITS ? exactRoot(base, degree) : null;
    if (root !== null) return power(root, integer(exponent.n), kept);
    // The real root of odd degree: (-2)^{1/3} is negative.
    if (base.n < 0n) {
      const sign = exponent.n % 2n === 0n ? 1 : -1;
      return numeric([negate(base), exponent], (x, y) => sign * realPower(x, y));
    }
  }
  return numeric([base, exponent], realPower);
}

function realPower(x: number, y: number): number {
  if (x === 0 && y <= 0) return Number.NaN;
  return besideOne(x, unless0(x ** y, x));
}

/** A value that differs from 1 by less than what is compared is lost. */
function besideOne(x: number, out: number): number {
  return x !== 1 && out !== 1 && Math.abs(out - 1) < 1e-9 ? lost : out;
}

/** Calls that have an exact value; null where it must be approximated. */
function exactCall(name: string, values: readonly Value[], kept: Keep): Value | null {
  const [x, y] = values;
  if (name === "root" && y !== undefined) {
    const degree = wholeNumber(y, 64);
    if (degree === null || degree < 2) return Number.NaN;
    const exponent = divide(integer(1), integer(degree))!;
    return power(x!, exponent, kept);
  }
  if (!values.every(isExact)) return null;
  const exact = x as Rational;
  switch (name) {
    case "abs":
      return exact.n < 0n ? negate(exact) : exact;
    case "floor":
    case "ceil": {
      const down = floorOf(name === "floor" ? exact : negate(exact));
      return integer(name === "floor" ? down : -down);
    }
    case "binom": {
      const [n, k] = [wholeNumber(x!, 500), wholeNumber(y!, 500)];
      if (n === null || k === null || n < 0 || k < 0) return lost;
      let product = 1n;
      for (let i = 0n; i < BigInt(k); ++i) product = (product * (BigInt(n) - i)) / (i + 1n);
      return kept(integer(product));
    }
    default:
      return null;
  }
}

function floorOf({ n, d }: Rational): bigint {
  const quotient = n / d;
  return n < 0n && quotient * d !== n ? quotient - 1n : quotient;
}
