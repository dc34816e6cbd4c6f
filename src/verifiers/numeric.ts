import { aNumber, aText, checkArguments, either, orNull } from "../engine/arguments.js";
import { checkKeys, checkNumber, invalid } from "../engine/checks.js";
import {
  decimal,
  divide,
  equal,
  integer,
  multiply,
  negate,
  type Rational,
  subtract,
} from "./math/rational.js";

/** How far an answer may be from the label, and what may stand beside it. */
export interface NumericOptions {
  /** Largest |answer - label|, >= 0; default 0. */
  absolute?: number;
  /** Largest |answer - label| / |label|, >= 0; default 0. The larger of the two allowances holds. */
  relative?: number;
  /** Units that may stand after a number, or before it ("$"); they are not converted. Default: none. */
  units?: readonly string[];
}

const digits = "(\\d{1,3}(?:,\\d{3})+(?:\\.\\d+)?|\\d+(?:\\.\\d*)?|\\.\\d+)";
const power = "(?:(?:[eE]|\\s*[x×*]\\s*10\\s*\\^\\s*)\\(?([+-]?\\d{1,3})\\)?)?";
const divisor = "(?:\\s*/\\s*(\\d+(?:\\.\\d+)?))?";
const number = new RegExp(`^([+-]?)\\s*${digits}${power}${divisor}\\s*(%?)$`);

/**
 * The number that a whole text writes, exactly: 1,234.5, -3/4, 2.5e-3, 1.2 x 10^3, 12.5% (0.125). Null
 * for anything else: "3 apples", "1,23", "1/0".
 *
 * @param units see `NumericOptions`
 */
function parseNumber(text: string, units: readonly string[] = []): Rational | null {
  const bare = withoutUnit(text.trim().replaceAll("−", "-").replace(/\.$/, ""), units);
  if (bare.length > 200) return null;
  const match = number.exec(bare);
  if (match === null) return null;
  const [, sign, mantissa = "", exponent = "0", denominator, percent] = match;
  const value = decimal(mantissa.replaceAll(",", ""), Number(exponent));
  const below = denominator === undefined ? integer(1) : decimal(denominator);
  if (value === null || below === null || below.n === 0n) return null;
  const quotient = divide(value, below)!;
  const scaled = percent === "%" ? multiply(quotient, { n: 1n, d: 100n }) : quotient;
  return sign === "-" ? negate(scaled) : scaled;
}

function withoutUnit(text: string, units: readonly string[]): string {
  for (const unit of units) {
    if (unit !== "" && text.endsWith(unit)) return text.slice(0, -unit.length).trim();
    const signed = /^[+-]/.test(text) ? 1 : 0;
    if (unit !== "" && text.startsWith(unit, signed)) {
      return text.slice(0, signed) + text.slice(signed + unit.length).trim();
    }
  }
  return text;
}

/**
 * 1 where an answer is one number within the tolerance of the label, else 0. Exact where the tolerance
 * is 0: 1/3 is not 0.333. Text around the number, and units that are not named, make it no number.
 *
 * @throws FiresteelError ERR_OPTION, ERR_RANGE for options that are none
 */
export function numeric(
  answer: string | null,
  label: string | number,
  options: NumericOptions = {},
): 0 | 1 {
  checkArguments({ answer, label }, { answer: orNull(aText), label: either(aNumber, aText) });
  const { absolute, relative, units } = checkNumericOptions(options);
  if (answer === null) return 0;
  const [a, b] = [parseNumber(answer, units), parseNumber(String(label), units)];
  if (a === null || b === null) return 0;
  if (equal(a, b)) return 1;
  if (absolute === 0 && relative === 0) return 0;
  // Of the exact difference: doubles would round two close numbers to one.
  const difference = subtract(a, b);
  const allowed = Math.max(absolute, relative * Math.abs(approximately(b)));
  return Math.abs(approximately(difference)) <= allowed ? 1 : 0;
}

/** @throws FiresteelError ERR_OPTION, ERR_RANGE */
export function checkNumericOptions(options: NumericOptions): Required<NumericOptions> {
  checkKeys("numeric", options, ["absolute", "relative", "units"]);
  const { absolute = 0, relative = 0, units = [] } = options;
  checkNumber("numeric.absolute", absolute, 0);
  checkNumber("numeric.relative", relative, 0);
  if (!Array.isArray(units) || !units.every((unit) => typeof unit === "string")) {
    throw invalid("ERR_OPTION", "numeric.units", "an array of strings", units);
  }
  return { absolute, relative, units };
}

/** The nearest double, also where numerator and denominator have none. */
function approximately({ n, d }: Rational): number {
  const shift = Math.max(0, Math.max(n.toString(2).length, d.toString(2).length) - 1000);
  const by = BigInt(shift);
  const below = Number(d >> by);
  return below === 0 ? Number.MAX_VALUE : Number(n >> by) / below;
}
