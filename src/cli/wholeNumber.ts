import { invalid } from "../engine/checks.js";

/** Reads the value of a flag. @throws FiresteelError ERR_OPTION naming the flag */
export function wholeNumber(name: string): (text: string) => number {
  return (text) => {
    if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
    throw invalid("ERR_OPTION", name, "a whole number", text);
  };
}
