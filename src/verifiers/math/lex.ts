import { decimal, type Rational } from "./rational.js";

export type Token =
  | { kind: "number"; value: Rational; text: string; spaced: boolean }
  /** One letter that stands for itself. */
  | { kind: "letter"; text: string; spaced: boolean }
  /** A command of LaTeX without its backslash, or a word that means the same. */
  | { kind: "command"; text: string; spaced: boolean }
  /** Words in \text{...}, or that separate: "and", "or". */
  | { kind: "words"; text: string; spaced: boolean }
  | { kind: "sign"; text: string; spaced: boolean };

/** Thrown where a text is not in the language; never leaves the verifier. */
export class NotMath extends Error {}

/** Names that are read as commands without a backslash. */
const plainCommands = new Set(
  (
    "sqrt sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp pi infty frac " +
    "theta alpha beta gamma lambda min max"
  ).split(" "),
);
const synonyms = new Map([
  ["infinity", "infty"],
  ["inf", "infty"],
  ["oo", "infty"],
]);

const number = /(?:\d+(?:\.\d+)?|\.\d+)(?:[eE]([+-]?\d{1,4})(?![\w.]))?/y;
const thousands = /\d{1,3}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?/y;
const repeating = /(\d*\.\d*)\\overline\s*\{(\d{1,30})\}/y;
const command = /\\([a-zA-Z]+|[{}])/y;
const words = /\\text\s*\{([^{}]*)\}/y;
const environment = /\\(begin|end)\s*\{([a-zA-Z*]{1,12})\}/y;
const letters = /[a-zA-Z]+/y;

/** Longest formula that is read, in tokens. */
const MAX_TOKENS = 400;

/** @throws NotMath */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let depth = 0;
  let spaced = false;
  for (let at = 0; at < text.length; ) {
    if (tokens.length >= MAX_TOKENS) throw new NotMath("too long");
    if (text[at] === " ") {
      spaced = true;
      at += 1;
      continue;
    }
    const match = (pattern: RegExp) => {
      pattern.lastIndex = at;
      return pattern.exec(text);
    };
    const [length, found] = read(match, text[at]!, depth, spaced);
    for (const token of found) {
      if (token.kind !== "sign") continue;
      if ("([".includes(token.text) || token.text === "\\{") depth += 1;
      if (")]".includes(token.text) || token.text === "\\}") depth -= 1;
    }
    tokens.push(...found);
    at += length;
    spaced = false;
  }
  // Leading zeros: one number may be padded (073); within something larger they say that a thousand
  // was meant where a list is read, as in (1,000).
  const padded = tokens.some((t) => t.kind === "number" && /^0\d/.test(t.text));
  if (padded && tokens.some((t) => t.kind === "sign" && ",([".includes(t.text))) {
    throw new NotMath("a number with leading zeros in a list");
  }
  return tokens;
}

function read(
  match: (pattern: RegExp) => RegExpExecArray | null,
  symbol: string,
  depth: number,
  spaced: boolean,
): [number, Token[]] {
  const period = match(repeating);
  if (period !== null) {
    return numberToken(period[0], decimal(period[1]!, 0, period[2]!), spaced);
  }
  const grouped = depth === 0 ? match(thousands) : null;
  if (grouped !== null) {
    return numberToken(grouped[0], decimal(grouped[0].replaceAll(",", "")), spaced);
  }
  const plain = match(number);
  if (plain !== null) {
    const [mantissa = ""] = plain[0].split(/[eE]/);
    return numberToken(plain[0], decimal(mantissa, Number(plain[1] ?? 0)), spaced);
  }
  const quoted = match(words);
  if (quoted !== null) {
    return [quoted[0].length, [{ kind: "words", text: quoted[1]!.trim(), spaced }]];
  }
  const block = match(environment);
  if (block !== null) {
    return [block[0].length, [{ kind: "command", text: `${block[1]} ${block[2]}`, spaced }]];
  }
  const named = match(command);
  if (named !== null) {
    const text = named[1]!;
    const kind = text === "{" || text === "}" ? "sign" : "command";
    const whole = kind === "sign" ? `\\${text}` : (braces.get(text) ?? text);
    const sign = whole.startsWith("\\") ? "sign" : kind;
    return [named[0].length, [{ kind: sign, text: whole, spaced }]];
  }
  const run = match(letters);
  if (run !== null) return [run[0].length, lettersOf(run[0], spaced)];
  if ("+-*/^_!%()[]{}|,;:=<>&".includes(symbol)) {
    return [1, [{ kind: "sign", text: symbol, spaced }]];
  }
  if (match(/\\\\/y) !== null) return [2, [{ kind: "sign", text: "\\\\", spaced }]];
  throw new NotMath(`unknown symbol ${symbol}`);
}

const braces = new Map([
  ["lbrace", "\\{"],
  ["rbrace", "\\}"],
]);

function numberToken(text: string, value: Rational | null, spaced: boolean): [number, Token[]] {
  if (value === null) throw new NotMath("an exponent out of bounds");
  return [text.length, [{ kind: "number", value, text, spaced }]];
}

/** A known word as a command, up to three letters as a product; longer words are no formula. */
function lettersOf(run: string, spaced: boolean): Token[] {
  const name = synonyms.get(run.toLowerCase()) ?? run;
  if (plainCommands.has(name)) return [{ kind: "command", text: name, spaced }];
  if (run === "and" || run === "or") return [{ kind: "words", text: run, spaced }];
  if (run === "in") return [{ kind: "command", text: "in", spaced }];
  if (run.length > 3) throw new NotMath(`the word ${run}`);
  return [...run].map((text, i) => ({ kind: "letter", text, spaced: spaced && i === 0 }));
}
