import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import type { Question } from "../../contract/data.js";
import type { QuestionForms } from "../../contract/forms.js";
import { pairwiseQuestion, pointwiseQuestion, reflectionQuestion } from "../../forms/questions.js";
import { shuffled } from "../shuffled.js";
import { base, blurredTrace, digits, trace } from "./trace.js";

const heldOut = 64;

/** All summands in one shuffled order: the held-out ones are the same for every run and seed. */
const all = shuffled(
  Array.from({ length: base ** digits }, (_, i) =>
    Array.from({ length: digits }, (_, d) => Math.floor(i / base ** d) % base),
  ),
  4,
);
export const heldOutSummands: readonly (readonly number[])[] = all.slice(0, heldOut);
export const trainingSummands: readonly (readonly number[])[] = all.slice(heldOut);

/** `qqqq=`, labelled with the sum. */
export function questionOf(summands: readonly number[]): Question {
  const asked = summands.join("");
  return {
    id: `arithmetic/${asked}`,
    messages: [{ role: "user", content: `${asked}=` }],
    label: String(trace(summands).at(-1)),
    columns: {},
    kind: "policy",
  };
}

const verdicts: Readonly<Record<string, RegExp>> = { pointwise: /[yn]$/, pairwise: /[AB]$/ };

/** The last symbol of a completion where it is one that the question's kind allows, else null. */
export function answerOf(completion: string, kind?: string): string | null {
  const allowed = verdicts[kind ?? ""] ?? /[0-3]$/;
  return allowed.test(completion) ? completion.slice(-1) : null;
}

/**
 * One short form each. The question stands last, so that judging and revising go on from it as
 * answering does: with the question first a judge of this size stays at chance.
 */
export const compactForms: QuestionForms = Object.freeze({
  pointwise: [{ text: "?{answer}:{question}", right: "y", wrong: "n" }],
  pairwise: ["{answerA}|{answerB}:{question}"],
  reflectTrace: [{ text: "!{trace}:{question}", says: "wrong" }],
  reflectAnswer: [{ text: "!{answer}:{question}", says: "wrong" }],
  quoted: ({ messages }) => messages[0]!.content,
  answer: answerOf,
} satisfies QuestionForms);

/** A wrong answer: one of the three, in turn. */
function wrongAnswer(summands: readonly number[], turn: number): string {
  return String((trace(summands).at(-1)! + 1 + (turn % (base - 1))) % base);
}

/** A slipping trace that ends in a wrong answer. */
export function failedTrace(summands: readonly number[], uniform: () => number): string {
  for (;;) {
    const written = blurredTrace(summands, uniform);
    if (written.at(-1) !== trace(summands).at(-1)) return written.join("");
  }
}

/**
 * Held-out questions of judging and revising, by the metric that their accuracy is reported as: each
 * question once with its right and once with a wrong answer, in both orders, after a failed trace and
 * after a wrong answer. So a judge without an eye for the answer is right half of the time.
 */
export function judgementQuestions(): Record<string, Question[]> {
  const generator = xoroshiro128plus(1);
  const uniform = () => uniformFloat64(generator);
  const about = heldOutSummands.map((summands, i) => {
    const question = questionOf(summands);
    const right = String(question.label);
    return {
      ...{ question, right, wrong: wrongAnswer(summands, i) },
      failed: failedTrace(summands, uniform),
    };
  });
  const forms = compactForms;
  return {
    "judge/pointwise_accuracy": about.flatMap(({ question, right, wrong }) => [
      pointwiseQuestion(forms, question, 0, { answer: right, right: true }),
      pointwiseQuestion(forms, question, 0, { answer: wrong, right: false }),
    ]),
    "judge/pairwise_accuracy": about.flatMap(({ question, right, wrong }) =>
      [true, false].map((rightIsA) =>
        pairwiseQuestion(forms, question, 0, { right, wrong, rightIsA }),
      ),
    ),
    "reflection/accuracy": about.flatMap(({ question, wrong, failed }) => [
      reflectionQuestion(forms, question, 0, { trace: failed }),
      reflectionQuestion(forms, question, 0, { answer: wrong }),
    ]),
  };
}
