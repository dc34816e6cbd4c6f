import { aNumber, aText, checkArguments, either, orNull } from "../engine/arguments.js";
import { clean, compact, wordsOf } from "./math/clean.js";
import { sameAnswer } from "./math/compare.js";
import type { Budget } from "./math/evaluate.js";
import type { Answer } from "./math/expression.js";
import { NotMath } from "./math/lex.js";
import { parseAnswer } from "./math/parseAnswer.js";

/** Longer answers are compared letter by letter alone. */
const MAX_LENGTH = 1000;
/** Exact arithmetic for one comparison, in words of 64 bits. */
const WORK = 60_000;

/**
 * 1 where an answer says what the label says, in LaTeX or plain text; else 0, and always 0 without an
 * answer or without a label. A text that cannot be read as mathematics is compared by its letters.
 *
 * Numbers are exact fractions: 0.5 is \frac12 and 50\%, 0.333 is not 1/3. Formulas with symbols are
 * equal where they are at fixed points and are defined at the same ones, so x^2-1 is (x-1)(x+1) and
 * \sqrt{x^2} is not x; irrational numbers are equal to 12 digits, decimals that only approximate them
 * are not equal. `x = 3` is 3; tuples and intervals are ordered and their brackets count; sets and
 * listed values are not ordered. A unit counts where both sides have one. \log is of base 10. What
 * has two readings (1/2x) is compared by its letters.
 *
 * Never throws; bounded in time for any text.
 */
export function math(answer: string | null, label: string | number): 0 | 1 {
  checkArguments({ answer, label }, { answer: orNull(aText), label: either(aNumber, aText) });
  if (answer === null) return 0;
  const [given, expected] = [answer, String(label)];
  if (given.trim() === "" || expected.trim() === "") return 0;
  if (given.trim() === expected.trim()) return 1;
  if (given.length > MAX_LENGTH || expected.length > MAX_LENGTH) return 0;
  const [a, b] = [clean(given), clean(expected)];
  if (a === "" || b === "") return 0;
  if (compact(a) === compact(b)) return 1;
  const words = [wordsOf(a), wordsOf(b)];
  if (words[0] === words[1] && words[0] !== null) return 1;
  const [x, y] = [read(a), read(b)];
  if (x === null || y === null) return 0;
  // Two runs of letters are words, not products: "on" is not "no".
  if (words[0] !== null && words[1] !== null && !/^(pi|infinity|inf)$/i.test(a)) return 0;
  const budget: Budget = { left: WORK };
  return sameAnswer(x, y, budget) ? 1 : 0;
}

function read(cleaned: string): Answer | null {
  try {
    return parseAnswer(cleaned);
  } catch (error) {
    if (error instanceof NotMath) return null;
    throw error;
  }
}
