import type { Label, Question } from "../contract/data.js";
import type { VerifiedOptions } from "../verifiers/verified.js";

/** Most symbols of a vocabulary that has one token per character. */
export const MAX_SYMBOLS = 256;

/** What an answer is written in beside its own characters. */
const marks: Readonly<Record<string, string>> = {
  "first-boxed": "\\boxed{}",
  "last-boxed": "\\boxed{}",
  "after-hashes": "#",
  "last-line": "\n",
};

/**
 * Every character of the questions and of their labels, in the order of Unicode; null where there are
 * too many.
 */
export function alphabetOf(
  questions: readonly Question[],
  answer: VerifiedOptions["answer"],
): string | null {
  const symbols = new Set<string>(typeof answer === "string" ? (marks[answer] ?? "") : "");
  const take = (text: string) => {
    for (const symbol of text) symbols.add(symbol);
  };
  const takeLabel = (label: Label): void => {
    if (typeof label !== "object") take(String(label));
    else for (const item of Object.values(label)) takeLabel(item);
  };
  for (const { messages, label } of questions) {
    for (const { content } of messages) take(content);
    if (label !== null) takeLabel(label);
    if (symbols.size > MAX_SYMBOLS) return null;
  }
  return [...symbols].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!).join("");
}
