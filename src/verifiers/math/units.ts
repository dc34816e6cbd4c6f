/** Units that are read without \text, by their other spellings. All have two letters or more. */
const spelled: ReadonlyMap<string, string> = new Map(
  [
    ["mm", "millimeter", "millimetre"],
    ["cm", "centimeter", "centimetre"],
    ["m", "meter", "metre"],
    ["km", "kilometer", "kilometre"],
    ["ft", "foot", "feet"],
    ["inch", "inches"],
    ["mile"],
    ["yard"],
    ["mg", "milligram"],
    ["g", "gram"],
    ["kg", "kilogram"],
    ["lb", "pound"],
    ["ml", "milliliter", "millilitre"],
    ["liter", "litre"],
    ["s", "sec", "second"],
    ["minute"],
    ["hour", "hr"],
    ["day"],
    ["week"],
    ["month"],
    ["year"],
    ["degree", "deg"],
    ["dollar", "usd"],
    ["euro", "eur"],
    ["cent"],
    ["unit"],
    ["mph"],
  ].flatMap(([name, ...others]) =>
    [name!, ...others].map((word): [string, string] => [word, name!]),
  ),
);

const quoted = /\\text\s*\{\s*([a-zA-Z][a-zA-Z ./]*?)\s*\.?\}\s*(\^\s*\{?\s*[23]\s*\}?)?$/;
const bare = /(?<=[\d)}])\s*(?<![a-zA-Z])([a-zA-Z]{2,}(?: [a-zA-Z]{2,})?)(\^\s*\{?\s*[23]\s*\}?)?$/;
const percent = /\s*(?:\\text\s*\{\s*percent\s*\}|(?<=\d\s*)percent)$/;

/**
 * An answer without its unit, and the unit's name (null: none): words in \text{} at the end, known
 * words after a number, a degree sign at the end, a dollar sign before.
 */
export function splitUnit(cleaned: string): [string, string | null] {
  const text = cleaned.replace(percent, "%");
  if (text.startsWith("\\dollar")) return [text.slice("\\dollar".length).trim(), "dollar"];
  // Behind a function it is the angle's, not the answer's.
  if (/\\degree$/.test(text) && !/sin|cos|tan|cot|sec|csc/.test(text)) {
    return [text.replace(/\s*\\degree$/, ""), "degree"];
  }
  const words = quoted.exec(text);
  if (words !== null && words.index > 0 && !/^(and|or)$/.test(words[1]!)) {
    return [text.slice(0, words.index).trim(), unitName(words[1]!) + power(words[2])];
  }
  const known = bare.exec(text);
  if (known !== null && spelled.has(singular(dimension(known[1]!)[0]))) {
    return [text.slice(0, known.index).trim(), unitName(known[1]!) + power(known[2])];
  }
  return [text, null];
}

function unitName(words: string): string {
  const [name, exponent] = dimension(words);
  const word = singular(name);
  return (spelled.get(word) ?? word) + exponent;
}

/** "square meters" are meters^2. */
function dimension(words: string): [string, "" | "^2" | "^3"] {
  const match = /^(?:(square|sq\.?)|cubic)\s+(.+)$/i.exec(words);
  if (match === null) return [words, ""];
  return [match[2]!, match[1] === undefined ? "^3" : "^2"];
}

function singular(words: string): string {
  const text = words.toLowerCase().replace(/\s+/g, " ").replace(/\.$/, "").trim();
  return spelled.has(text) ? text : text.replace(/s$/, "");
}

function power(text: string | undefined): string {
  return text === undefined ? "" : `^${/\d/.exec(text)![0]}`;
}
