import { aText, checkArguments } from "../engine/arguments.js";
import { firstBoxed, lastBoxed } from "./boxed.js";

const extractors = {
  /** The whole text, without the blanks around it. */
  text: (completion) => completion.trim() || null,
  /** In the first `\boxed{...}`. */
  "first-boxed": firstBoxed,
  /** In the last `\boxed{...}`. */
  "last-boxed": lastBoxed,
  /** The last line that is not blank. */
  "last-line": (completion) => completion.trim().split("\n").at(-1)!.trim() || null,
  /** Behind the last "####", as GSM8K writes answers. */
  "after-hashes": (completion) => {
    const at = completion.lastIndexOf("####");
    return at === -1 ? null : completion.slice(at + 4).trim() || null;
  },
  /** The last number that is written in digits; 1,234.5 is one. */
  "last-number": (completion) => {
    const numbers = completion.match(/-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?/g);
    return numbers?.at(-1) ?? null;
  },
} satisfies Record<string, (completion: string) => string | null>;

/** Name of a place in a completion where its answer stands. */
export type Extraction = keyof typeof extractors;

/** Where in a completion its answer stands. @throws FiresteelError ERR_OPTION for what is no text */
export const extractions = Object.fromEntries(
  Object.entries(extractors).map(([name, extract]) => [
    name,
    (completion: string) => {
      checkArguments({ completion }, { completion: aText });
      return extract(completion);
    },
  ]),
) as Readonly<Record<Extraction, (completion: string) => string | null>>;

export const extractionNames = Object.keys(extractions) as Extraction[];
