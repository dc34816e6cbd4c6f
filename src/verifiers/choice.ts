import { aText, checkArguments, listOf, orNull } from "../engine/arguments.js";
import { clean } from "./math/clean.js";

const lead =
  "(?:(?:the\\s+)?(?:final\\s+|correct\\s+)*(?:answer|option|choice)(?:\\s+is)?\\s*:?\\s*)?";
const letters = "(?:\\(([a-z])\\)|\\[([a-z])\\]|([a-z]))";
const chosen = new RegExp(`^${lead}${letters}(?:\\s*[.):,-]\\s*(.*)|\\s*)$`, "is");

/**
 * The letter that an answer chooses, as a capital: "B", "b", "(B)", "B.", "B) Paris", "\text{(B)}",
 * "option B", "answer: B". With `options` also an option's own text, which settles on its letter; a
 * letter with the text of another option chooses nothing. Null where none or several are chosen.
 *
 * @param options texts of A, B, C ...
 */
export function chosenLetter(answer: string, options: readonly string[] = []): string | null {
  checkArguments({ answer, options }, { answer: aText, options: listOf(aText) });
  if (answer.length > 2000) return null;
  const text = clean(answer)
    .replace(/\\text\s*\{([^{}]*)\}/g, "$1")
    .trim();
  const known = options.findIndex((option) => plain(option) === plain(text));
  if (known !== -1) {
    const twice = options.filter((option) => plain(option) === plain(text)).length > 1;
    return twice ? null : letterOf(known);
  }
  const match = chosen.exec(text);
  if (match === null) return null;
  const letter = (match[1] ?? match[2] ?? match[3]!).toUpperCase();
  const place = letter.charCodeAt(0) - 65;
  if (options.length > 0 && place >= options.length) return null;
  const rest = (match[4] ?? "").trim();
  if (rest === "") return letter;
  if (options.length > 0) return plain(rest) === plain(options[place]!) ? letter : null;
  // Without the options a text may follow its letter, but no second choice: "A, B", "A or B".
  return /^(?:(?:and|or)\s+)?\(?[A-Za-z]\)?$|\b(?:and|or)\s+\(?[A-Z]\)?$/.test(rest)
    ? null
    : letter;
}

function letterOf(place: number): string {
  return String.fromCharCode(65 + place);
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/\s+/g, " ")
    .replace(/[.\s]+$/, "")
    .trim();
}

/**
 * 1 where an answer chooses what the label chooses, else 0. The label is a letter, or one of the
 * options' texts.
 */
export function choice(
  answer: string | null,
  label: string,
  options: readonly string[] = [],
): 0 | 1 {
  checkArguments(
    { answer, label, options },
    { answer: orNull(aText), label: aText, options: listOf(aText) },
  );
  if (answer === null) return 0;
  const letter = chosenLetter(answer, options);
  return letter !== null && letter === chosenLetter(label, options) ? 1 : 0;
}
