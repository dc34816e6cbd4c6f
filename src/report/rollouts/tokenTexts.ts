import type { Tokenizer } from "../../contract/data.js";

/** What a decoder writes for bytes that are no character yet. */
const incomplete = "\u{fffd}";

/**
 * The text that each token adds. Tokens are decoded beside the ones before them, as spaces and
 * characters may span several: of those, the last one has the text and the others "".
 *
 * @returns one text per id; joined they are the decoded completion
 */
export function tokenTexts(ids: Int32Array, tokenizer: Tokenizer): string[] {
  const texts: string[] = [];
  let before = 0;
  let begin = 0;
  for (let i = 0; i < ids.length; ++i) {
    const known = tokenizer.decode(ids.subarray(before, begin));
    const text = tokenizer.decode(ids.subarray(before, i + 1));
    const last = i === ids.length - 1;
    if (text.endsWith(incomplete) && !last) {
      texts.push("");
      continue;
    }
    texts.push(text.slice(known.length));
    before = begin;
    begin = i + 1;
  }
  return texts;
}
