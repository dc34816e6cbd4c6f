import type { Demonstration } from "../../contract/task.js";
import { pairwiseQuestion, pointwiseQuestion, reflectionQuestion } from "../../forms/questions.js";
import { compactForms, failedTrace, questionOf, trainingSummands } from "./questions.js";
import { base, blurredTrace, trace } from "./trace.js";

/** How a demonstrator writes the trace of a question. */
type Write = (summands: readonly number[], uniform: () => number) => readonly number[];

/** What a demonstrator says of the answers that stand in the prompt. */
interface Judge {
  /** @param derived the last digit of the trace it has just written */
  pointwise(answer: string, derived: string, uniform: () => number): "y" | "n";
  pairwise(answers: readonly [string, string], derived: string, uniform: () => number): "A" | "B";
}

function pick<T>(items: readonly T[], uniform: () => number): T {
  return items[Math.floor(uniform() * items.length)]!;
}

/** Judges by the trace it wrote; between two answers of which it wrote neither, at random. */
const judgeByTrace: Judge = {
  pointwise: (answer, derived) => (answer === derived ? "y" : "n"),
  pairwise: ([a, b], derived, uniform) =>
    a === derived ? "A" : b === derived ? "B" : pick(["A", "B"], uniform),
};

/** As `judge` half of the time, else at random. */
const halfAtRandom = (judge: Judge): Judge => ({
  pointwise: (...given) =>
    given[2]() < 0.5 ? judge.pointwise(...given) : pick(["y", "n"], given[2]),
  pairwise: (...given) =>
    given[2]() < 0.5 ? judge.pairwise(...given) : pick(["A", "B"], given[2]),
});

/** Shares of the kinds: 60 % judging and revising. */
const shares = { policy: 0.4, pointwise: 0.2, pairwise: 0.2, reflectTrace: 0.1 };

/** A demonstration about a random training question. */
function demonstration(uniform: () => number, write: Write, judge: Judge): Demonstration {
  const summands = pick(trainingSummands, uniform);
  const question = questionOf(summands);
  const right = String(question.label);
  const wrong = String((Number(right) + 1 + Math.floor(uniform() * (base - 1))) % base);
  const written = write(summands, uniform).join("");
  const derived = written.slice(-1);
  let draw = uniform();
  const isKind = (kind: keyof typeof shares) => {
    draw -= shares[kind];
    return draw < 0;
  };
  if (isKind("policy")) return { question, completion: written };
  if (isKind("pointwise")) {
    const isRight = uniform() < 0.5;
    const answer = isRight ? right : wrong;
    const quoted = { answer, right: isRight };
    return {
      question: pointwiseQuestion(compactForms, question, 0, quoted),
      completion: written + judge.pointwise(answer, derived, uniform),
    };
  }
  if (isKind("pairwise")) {
    const rightIsA = uniform() < 0.5;
    const answers = rightIsA ? ([right, wrong] as const) : ([wrong, right] as const);
    return {
      question: pairwiseQuestion(compactForms, question, 0, { right, wrong, rightIsA }),
      completion: written + judge.pairwise(answers, derived, uniform),
    };
  }
  const attempt = isKind("reflectTrace")
    ? { trace: failedTrace(summands, uniform) }
    : { answer: wrong };
  return {
    question: reflectionQuestion(compactForms, question, 0, attempt),
    completion: written,
  };
}

/** Right traces, and verdicts that follow from them. */
export function correctDemonstration(uniform: () => number): Demonstration {
  return demonstration(uniform, trace, judgeByTrace);
}

/** Slipping traces, and verdicts half of which follow from them. */
export function blurredDemonstration(uniform: () => number): Demonstration {
  return demonstration(uniform, blurredTrace, halfAtRandom(judgeByTrace));
}
