import type { Question } from "./data.js";

/** A text in which "{question}", "{answer}" and the like stand for what is quoted there. */
export interface PointwiseTemplate {
  /** Quotes {question} and {answer}. */
  readonly text: string;
  /** What says that the quoted answer is right, and what says that it is wrong. */
  readonly right: string;
  readonly wrong: string;
}

/** A text that asks for another attempt, given one that failed. */
export interface ReflectionTemplate {
  /** Quotes {question}, and {trace} or {answer} of an attempt that failed. */
  readonly text: string;
  /** Whether it says outright that the attempt is wrong, or leaves that to be found out. */
  readonly says: "wrong" | "nothing";
}

/** How a task's questions are put before a policy that judges or revises what was answered to them. */
export interface QuestionForms {
  /** Is this answer right? */
  readonly pointwise: readonly PointwiseTemplate[];
  /** Which answer is right? Texts that quote {question}, {answerA} and {answerB}; verdicts "A" and "B". */
  readonly pairwise: readonly string[];
  /** Solve it after this attempt, quoted whole as {trace}, or by its final {answer} alone. */
  readonly reflectTrace: readonly ReflectionTemplate[];
  readonly reflectAnswer: readonly ReflectionTemplate[];
  /** The text of a question as it is quoted: without what was appended to it for the policy. */
  quoted(question: Question): string;
  /**
   * The final answer of a completion as it is quoted and compared with a verdict; null where there is
   * none. `kind` is the kind of question that was answered, undefined for one of the task's own.
   */
  answer(completion: string, kind?: string): string | null;
}
