import { invalid } from "../engine/checks.js";

/**
 * Reads the value of a flag, a whole number from `min` to `max`.
 *
 * @throws FiresteelError ERR_OPTION naming the flag
 */
export function wholeNumber(
  name: string,
  min = 0,
  max = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => {
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
      throw invalid("ERR_OPTION", name, "a whole number", text);
    }
    if (Number(text) >= min && Number(text) <= max) return Number(text);
    throw invalid("ERR_OPTION", name, `${min} to ${max}`, text);
  };
}
