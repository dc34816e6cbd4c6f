const opening = "\\boxed{";

/** The content of the box that opens at `at`, up to its closing brace or the end of the text. */
function boxAt(text: string, at: number): string | null {
  if (at === -1) return null;
  const begin = at + opening.length;
  let depth = 1;
  let end = begin;
  for (; end < text.length; ++end) {
    if (text[end] === "{") depth += 1;
    else if (text[end] === "}" && --depth === 0) break;
  }
  return text.slice(begin, end).trim() || null;
}

/**
 * The content of the first `\boxed{...}`, braces balanced, without the space around it; of a box that
 * never closes, everything up to the end. null where there is no box or nothing in it.
 */
export function firstBoxed(text: string): string | null {
  return boxAt(text, text.indexOf(opening));
}

/** As `firstBoxed`, of the last box to open. */
export function lastBoxed(text: string): string | null {
  return boxAt(text, text.lastIndexOf(opening));
}
