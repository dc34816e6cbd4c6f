import type { Label, Message, Question } from "../contract/data.js";
import type { QuestionForms } from "../contract/forms.js";
import { aFlag, aText, checkArguments, either, recordOf, withFields } from "../engine/arguments.js";
import { checkInteger } from "../engine/checks.js";
import { aQuestion, someForms } from "../engine/contractKinds.js";

/** What a question that quotes another one asks for. */
export type QuestionKind = "pointwise" | "pairwise" | "reflectTrace" | "reflectAnswer";

/**
 * A template with what it quotes put in. One pass: quoted text that looks like a placeholder stays as
 * it is.
 */
export function fill(template: string, quoted: Readonly<Record<string, string>>): string {
  checkArguments({ quoted }, { quoted: recordOf(aText) });
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => quoted[name] ?? whole);
}

/**
 * A question about another one. What stood before it (a system message) stands before this one too; in a
 * mixture the same task's rewards judge it.
 */
function about(question: Question, kind: QuestionKind, content: string, label: Label | null) {
  const before = question.messages.filter(({ role }) => role === "system");
  const messages: Message[] = [...before.map((m) => ({ ...m })), { role: "user", content }];
  const { id, columns, task } = question;
  const owner = task === undefined ? {} : { task };
  return { id: `${id}/${kind}`, messages, label, columns: { ...columns }, kind, ...owner };
}

const aboutQuestion = { forms: someForms, question: aQuestion };
const aboutAnswer = { ...aboutQuestion, quoted: withFields({ answer: aText, right: aFlag }) };
const aboutAnswers = {
  ...aboutQuestion,
  answers: withFields({ right: aText, wrong: aText, rightIsA: aFlag }),
};
const aboutAttempt = {
  ...aboutQuestion,
  attempt: either(withFields({ trace: aText }), withFields({ answer: aText })),
};

/** Is `answer` right? Labelled with the template's verdict. */
export function pointwiseQuestion(
  forms: QuestionForms,
  question: Question,
  template: number,
  quoted: { answer: string; right: boolean },
): Question {
  checkArguments({ forms, question, quoted }, aboutAnswer);
  checkInteger("template", template, 0, forms.pointwise.length - 1);
  const { answer, right } = quoted;
  const form = forms.pointwise[template]!;
  const content = fill(form.text, { question: forms.quoted(question), answer });
  return about(question, "pointwise", content, right ? form.right : form.wrong);
}

/** Which of two answers, one right and one wrong, is right? Labelled "A" or "B". */
export function pairwiseQuestion(
  forms: QuestionForms,
  question: Question,
  template: number,
  answers: { right: string; wrong: string; rightIsA: boolean },
): Question {
  checkArguments({ forms, question, answers }, aboutAnswers);
  checkInteger("template", template, 0, forms.pairwise.length - 1);
  const { right, wrong, rightIsA } = answers;
  const [answerA, answerB] = rightIsA ? [right, wrong] : [wrong, right];
  const quoted = { question: forms.quoted(question), answerA, answerB };
  return about(question, "pairwise", fill(forms.pairwise[template]!, quoted), rightIsA ? "A" : "B");
}

/** The question again, with an attempt at it. Labelled as the question is. */
export function reflectionQuestion(
  forms: QuestionForms,
  question: Question,
  template: number,
  attempt: { trace: string } | { answer: string },
): Question {
  checkArguments({ forms, question, attempt }, aboutAttempt);
  const kind = "trace" in attempt ? "reflectTrace" : "reflectAnswer";
  checkInteger("template", template, 0, forms[kind].length - 1);
  const content = fill(forms[kind][template]!.text, {
    question: forms.quoted(question),
    ...attempt,
  });
  return about(question, kind, content, question.label);
}
