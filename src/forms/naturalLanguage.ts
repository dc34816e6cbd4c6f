import type { Question } from "../contract/data.js";
import type { QuestionForms } from "../contract/forms.js";
import { checkArguments } from "../engine/arguments.js";
import { aQuestion } from "../engine/contractKinds.js";
import { firstBoxed } from "../verifiers/boxed.js";
import { pairwise } from "./templates/pairwise.js";
import { pointwise } from "./templates/pointwise.js";
import { reflectAnswer } from "./templates/reflectAnswer.js";
import { reflectTrace } from "./templates/reflectTrace.js";

/**
 * The user's words, without the instruction that a source appended to them: it names that text in the
 * column "suffix".
 */
function quoted(question: Question): string {
  checkArguments({ question }, { question: aQuestion });
  const { messages, columns } = question;
  const text = messages.findLast(({ role }) => role === "user")?.content ?? "";
  const { suffix } = columns;
  const appended = typeof suffix === "string" && suffix !== "" && text.endsWith(suffix);
  return (appended ? text.slice(0, -suffix.length) : text).trim();
}

/**
 * Judging and reflection in English, for policies that read it. Every prompt asks for a boxed answer;
 * what is quoted of a completion is its first box (SPARK, arXiv 2509.22624, appendix A; counts as
 * there, the wording is ours).
 */
export const naturalLanguage: QuestionForms = Object.freeze({
  pointwise,
  pairwise,
  reflectTrace,
  reflectAnswer,
  quoted,
  answer: (completion: string) => firstBoxed(completion),
});
