import { closingBrace } from "../boxed.js";

/** Symbols of Unicode as LaTeX writes them. */
const symbols: Readonly<Record<string, string>> = {
  "−": "-",
  "–": "-",
  "—": "-",
  "×": "\\times ",
  "·": "\\cdot ",
  "∙": "\\cdot ",
  "⋅": "\\cdot ",
  "÷": "\\div ",
  π: "\\pi ",
  "∞": "\\infty ",
  "≤": "\\le ",
  "≥": "\\ge ",
  "≠": "\\ne ",
  "∪": "\\cup ",
  "∈": "\\in ",
  "∅": "\\emptyset ",
  "±": "\\pm ",
  "√": "\\sqrt ",
  "°": "\\degree ",
  "½": "\\frac{1}{2}",
  "⅓": "\\frac{1}{3}",
  "⅔": "\\frac{2}{3}",
  "¼": "\\frac{1}{4}",
  "¾": "\\frac{3}{4}",
  "²": "^{2}",
  "³": "^{3}",
  "\u00a0": " ",
};
const symbolPattern = new RegExp(`[${Object.keys(symbols).join("")}]`, "gu");

/** Rewritings that change how an answer looks and never what it says, in this order. */
const rewritings: readonly (readonly [RegExp, string])[] = [
  // Blanks and thousands marks that take part in a number: 1{,}000, 1,\!000, 1\,000.
  [/\{,\}/g, ","],
  [/,\\!/g, ","],
  [/(?<=\d)\\[,;](?=\d{3}(?!\d))/g, ","],
  [/(?<!\\)\\(?:[,;:! ]|quad\b|qquad\b)|~|&nbsp;/g, " "],
  [/\\(?:displaystyle|textstyle|limits|mathstrut)(?![a-zA-Z])/g, " "],
  [/\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])/g, ""],
  [/\\[dtc]frac(?![a-zA-Z])/g, "\\frac"],
  [/\\(?:operatorname\*?|mathop)\s*\{([a-zA-Z]+)\}/g, "\\$1 "],
  [/\\(?:textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|hbox|rm)\s*\{/g, "\\text{"],
  [/\^\s*\{?\s*\\(?:circ|degree)(?![a-zA-Z])\s*\}?/g, "\\degree "],
  [/\\(?:leq|leqslant)(?![a-zA-Z])/g, "\\le "],
  [/\\(?:geq|geqslant)(?![a-zA-Z])/g, "\\ge "],
  [/\\neq(?![a-zA-Z])/g, "\\ne "],
  [/\\(?:varnothing|emptyset)(?![a-zA-Z])/g, "\\emptyset "],
  [/\\[lr]vert(?![a-zA-Z])/g, "|"],
  [/\\([lr])brace(?![a-zA-Z])/g, "\\$1brace "],
  [/<=/g, "\\le "],
  [/>=/g, "\\ge "],
  [/!=/g, "\\ne "],
  [/\\%/g, "%"],
  [/\*\*/g, "^"],
  [/\s+/g, " "],
];

/**
 * An answer without what only sets it: dollar signs and boxes around it, spacing and size commands,
 * variants of one command, Unicode signs, bold marks, a full stop.
 */
export function clean(text: string): string {
  let out = text.normalize("NFC").trim();
  out = unwrapped(out).replace(symbolPattern, (symbol) => symbols[symbol]!);
  // Commands that were escaped twice; in a matrix two backslashes end a row.
  if (!out.includes("\\begin")) out = out.replace(/(?<!\\)\\\\(?=[a-zA-Z])/g, "\\");
  // A dollar sign that is escaped, or stands before a bare number, is money.
  out = out.replace(/\\\$/g, "\\dollar ").replace(/^\$(?=\d[\d,.]*$)/, "\\dollar ");
  out = out.replaceAll("$", "");
  for (const [pattern, by] of rewritings) out = out.replace(pattern, by);
  out = out.trim().replace(/(?<=[^.\s])\s*[.,;]$/, "");
  return unwrapped(out.trim()).trim();
}

/** Without delimiters, boxes and \\text that enclose the whole text. */
function unwrapped(text: string): string {
  let out = text;
  for (let i = 0; i < 4; ++i) {
    const before = out;
    for (const [open, close] of delimiters) {
      const inner = out.slice(open.length, -close.length);
      const whole = out.length > open.length + close.length && out.startsWith(open);
      if (whole && out.endsWith(close) && !inner.includes(open)) out = inner.trim();
    }
    const box = /^\\(?:boxed|fbox|text)\s*\{/.exec(out);
    if (box !== null && closingBrace(out, box[0].length) === out.length - 1) {
      out = out.slice(box[0].length, -1).trim();
    }
    if (out === before) break;
  }
  return out;
}

const delimiters = [
  ["$$", "$$"],
  ["$", "$"],
  ["\\(", "\\)"],
  ["\\[", "\\]"],
  ["**", "**"],
] as const;

/** Words of an answer that is no formula: letters alone, whatever sets them, in lower case. */
export function wordsOf(cleaned: string): string | null {
  const text = cleaned
    .replace(/\\text\s*\{([^{}]*)\}/g, "$1")
    .replace(/\s+/g, " ")
    .trim();
  return /^\p{L}[\p{L}' -]*\p{L}$/u.test(text) ? text.toLowerCase() : null;
}

/** For a comparison letter by letter: blanks go where they separate nothing. */
export function compact(cleaned: string): string {
  return cleaned.replace(/ (?![\p{L}\p{N}])|(?<![\p{L}\p{N}]) /gu, "");
}
