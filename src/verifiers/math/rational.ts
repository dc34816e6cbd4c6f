/** An exact fraction in lowest terms, d > 0. */
export interface Rational {
  readonly n: bigint;
  readonly d: bigint;
}

export const one: Rational = { n: 1n, d: 1n };

export function integer(value: bigint | number): Rational {
  return { n: BigInt(value), d: 1n };
}

/** n / d; null for a denominator of 0. */
export function fraction(n: bigint, d: bigint): Rational | null {
  if (d === 0n) return null;
  const g = gcd(n < 0n ? -n : n, d < 0n ? -d : d);
  const sign = d < 0n ? -1n : 1n;
  return { n: (sign * n) / g, d: (sign * d) / g };
}

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a === 0n ? 1n : a;
}

export function add(a: Rational, b: Rational): Rational {
  return fraction(a.n * b.d + b.n * a.d, a.d * b.d)!;
}

export function negate(a: Rational): Rational {
  return { n: -a.n, d: a.d };
}

export function subtract(a: Rational, b: Rational): Rational {
  return add(a, negate(b));
}

export function multiply(a: Rational, b: Rational): Rational {
  return fraction(a.n * b.n, a.d * b.d)!;
}

/** Null for a divisor of 0. */
export function divide(a: Rational, b: Rational): Rational | null {
  return fraction(a.n * b.d, a.d * b.n);
}

export function equal(a: Rational, b: Rational): boolean {
  return a.n === b.n && a.d === b.d;
}

export function magnitude(a: Rational): Rational {
  return a.n < 0n ? negate(a) : a;
}

export function isLess(a: Rational, b: Rational): boolean {
  return a.n * b.d < b.n * a.d;
}

/** Bits of numerator and denominator together, rounded up to hexadecimal digits. */
export function bits(a: Rational): number {
  return 4 * (a.n.toString(16).length + a.d.toString(16).length);
}

/** a^k; null for 0 to a negative power. The caller bounds the size: about |k| bits(a). */
export function integerPower(a: Rational, k: number): Rational | null {
  const exponent = BigInt(Math.abs(k));
  return k >= 0
    ? { n: a.n ** exponent, d: a.d ** exponent }
    : fraction(a.d ** exponent, a.n ** exponent);
}

/** The k-th root where it is rational, else null; k >= 2, of a negative number for odd k alone. */
export function exactRoot(a: Rational, k: number): Rational | null {
  if (a.n < 0n) {
    const root = k % 2 === 1 ? exactRoot(negate(a), k) : null;
    return root === null ? null : negate(root);
  }
  const [n, d] = [integerRoot(a.n, k), integerRoot(a.d, k)];
  return n === null || d === null ? null : { n, d };
}

/** By bisection on the bits; null where there is none. */
function integerRoot(a: bigint, k: number): bigint | null {
  let low = 0n;
  let high = 1n << BigInt(Math.ceil((4 * a.toString(16).length) / k) + 1);
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle ** BigInt(k) <= a) low = middle;
    else high = middle - 1n;
  }
  return low ** BigInt(k) === a ? low : null;
}

/** Longest exponent of scientific notation that is kept exact. */
const MAX_EXPONENT = 400;

/**
 * A decimal number: digits with an optional point, then an optional repeating part and exponent.
 *
 * @param repeating digits that go on for ever after those of `text`, e.g. ("0.1", "6") is 1/6
 * @returns null where the exponent is out of bounds
 */
export function decimal(text: string, exponent = 0, repeating = ""): Rational | null {
  if (Math.abs(exponent) > MAX_EXPONENT) return null;
  const [whole = "", digits = ""] = text.split(".");
  let value = fraction(BigInt(`0${whole}${digits}`), 10n ** BigInt(digits.length))!;
  if (repeating !== "") {
    const period = 10n ** BigInt(repeating.length) - 1n;
    value = add(value, fraction(BigInt(repeating), period * 10n ** BigInt(digits.length))!);
  }
  return multiply(value, integerPower(integer(10), exponent)!);
}

const LARGEST_EXACT = 10n ** 9n;

/**
 * The nearest double, where numerator and denominator have at most nine digits before their trailing
 * zeros. Else NaN: neighbouring fractions of that size could not be told apart after a root or a
 * logarithm.
 */
export function toNumber({ n, d }: Rational): number {
  const short = (value: bigint) => {
    let rest = value < 0n ? -value : value;
    while (rest > LARGEST_EXACT && rest % 10n === 0n) rest /= 10n;
    return rest <= LARGEST_EXACT;
  };
  return short(n) && short(d) ? Number(n) / Number(d) : Number.NaN;
}
