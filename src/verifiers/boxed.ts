import { aText, checkArguments } from "../engine/arguments.js";

const opening = /\\boxed\s*\{/g;

/** What the first `\boxed{...}` holds; see `lastBoxed`. */
export function firstBoxed(text: string): string | null {
  checkArguments({ text }, { text: aText });
  return boxes(text, 1)[0] ?? null;
}

/**
 * What the last `\boxed{...}` of a text holds, without the blanks around it. Braces balance (`\{` and
 * `\}` do not count); a box that is not closed runs to the end of the text; a box within a box
 * belongs to the outer one. Null where there is no box, or an empty one.
 */
export function lastBoxed(text: string): string | null {
  checkArguments({ text }, { text: aText });
  return boxes(text).at(-1) ?? null;
}

/** The contents of the outermost boxes, null for empty ones; at most `most`. */
function boxes(text: string, most = Number.POSITIVE_INFINITY): (string | null)[] {
  const found: (string | null)[] = [];
  opening.lastIndex = 0;
  while (found.length < most) {
    const match = opening.exec(text);
    if (match === null) break;
    const begin = match.index + match[0].length;
    const end = closingBrace(text, begin);
    const content = text.slice(begin, end).trim();
    found.push(content === "" ? null : content);
    opening.lastIndex = end;
  }
  return found;
}

/** Where the brace that was opened before `begin` closes; the end of the text where it does not. */
export function closingBrace(text: string, begin: number): number {
  let depth = 1;
  for (let i = begin; i < text.length; ++i) {
    const symbol = text[i];
    if (symbol === "\\") ++i;
    else if (symbol === "{") depth += 1;
    else if (symbol === "}" && --depth === 0) return i;
  }
  return text.length;
}
