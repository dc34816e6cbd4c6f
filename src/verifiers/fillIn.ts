import { aText, checkArguments, either, listOf, orNull } from "../engine/arguments.js";
import { checkChoice, checkKeys, invalid } from "../engine/checks.js";

/** How blanks are counted. */
export interface FillInOptions {
  /** Stands between the answers of two blanks; default ";". */
  separator?: string;
  /** "all" (default): 1 where every blank is right. "share": the share of right blanks. */
  credit?: "all" | "share";
  /** Judges one blank; default: equal but for case and blanks around and between words. */
  blank?: (answer: string, label: string) => 0 | 1;
}

/** The texts that are right for a blank. */
export type Blank = string | readonly string[];

const aBlank = either(listOf(aText), aText);
const blanks = either(listOf(aBlank), aText);

/**
 * How many blanks an answer fills in rightly, in their order: 1 or 0, or with `credit: "share"` the
 * share of them. Another number of blanks than the label has is 0. A label of one blank takes the whole
 * answer.
 *
 * @throws FiresteelError ERR_OPTION for options that are none
 * @example
 * fillIn("Paris; 2", ["Paris", ["2", "two"]]); // 1
 */
export function fillIn(
  answer: string | null,
  label: Blank | readonly Blank[],
  options: FillInOptions = {},
): number {
  checkArguments({ answer, label }, { answer: orNull(aText), label: blanks });
  const { separator, credit, blank } = checkFillInOptions(options);
  if (answer === null) return 0;
  const wanted: readonly Blank[] = typeof label === "string" ? [label] : label;
  if (wanted.length === 0) return 0;
  const given = wanted.length === 1 ? [answer] : answer.split(separator);
  if (given.length !== wanted.length) return 0;
  const right = wanted.filter((accepted, i) => {
    const texts = typeof accepted === "string" ? [accepted] : accepted;
    return texts.some((text) => blank(given[i]!.trim(), text) === 1);
  }).length;
  if (credit === "share") return right / wanted.length;
  return right === wanted.length ? 1 : 0;
}

/** @throws FiresteelError ERR_OPTION */
export function checkFillInOptions(options: FillInOptions): Required<FillInOptions> {
  checkKeys("fillIn", options, ["separator", "credit", "blank"]);
  const { separator = ";", credit = "all", blank = sameWords } = options;
  if (typeof separator !== "string" || separator === "") {
    throw invalid("ERR_OPTION", "fillIn.separator", "a text", separator);
  }
  checkChoice("fillIn.credit", credit, ["all", "share"]);
  if (typeof blank !== "function") {
    throw invalid("ERR_OPTION", "fillIn.blank", "a function", blank);
  }
  return { separator, credit, blank };
}

function sameWords(answer: string, label: string): 0 | 1 {
  const plain = (text: string) => text.normalize("NFC").trim().replace(/\s+/g, " ").toLowerCase();
  const filled = plain(answer);
  return filled !== "" && filled === plain(label) ? 1 : 0;
}
