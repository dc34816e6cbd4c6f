import type { ReflectionTemplate } from "../../contract/forms.js";
import { type QuotingRow, quoting } from "./layout.js";

const neutral: readonly QuotingRow[] = [
  [
    "Below are a question and someone's full solution. Decide whether it is right; confirm it or correct it.",
    "Question:",
    "Solution:",
    "Reason step by step and give the final answer in \\boxed{}.",
  ],
  [
    "Go through this attempt line by line. Keep what holds and repair what does not.",
    "Problem:",
    "Attempt:",
    "State the answer that you end up with as \\boxed{}.",
  ],
  [
    "A student wrote down the following reasoning. It may or may not lead to the right result.",
    "Task:",
    "The student's reasoning:",
    "What is the right result? Explain, then write it in \\boxed{}.",
  ],
  [
    "Reflect on an earlier line of thought before you answer for good.",
    "The question:",
    "The earlier line of thought:",
    "After your reflection, put your final answer into \\boxed{}.",
  ],
  [
    "Review the worked solution under the problem. If every step is sound, adopt its answer; if not, find the correct one.",
    "Problem statement:",
    "Worked solution:",
    "Finish with the answer you stand by in \\boxed{}.",
  ],
  [
    "You have been handed a draft answer with its derivation. Check the derivation independently.",
    "What was asked:",
    "Draft:",
    "Write your own derivation where it differs and close with \\boxed{}.",
  ],
  [
    "Solve the question. A previous attempt is included and you may use as much of it as you trust.",
    "Question:",
    "Previous attempt:",
    "Give the final answer within \\boxed{}.",
  ],
  [
    "Examine how an answer was reached, and whether it should have been reached that way.",
    "The problem:",
    "How the answer was reached:",
    "Present the answer you consider correct in \\boxed{}.",
  ],
  [
    "Here is a transcript of someone solving a problem aloud. Follow it critically.",
    "Problem:",
    "Transcript:",
    "Tell what the answer really is, in \\boxed{}, after your own account of the steps.",
  ],
  [
    "Take a second look at this piece of work, as if it were your own and due today.",
    "Assignment:",
    "Work so far:",
    "Hand in the final answer in the form \\boxed{}.",
  ],
  [
    "An assistant produced the response below. Verify it, then respond yourself.",
    "Request:",
    "The assistant's response:",
    "Your response ends with the verified answer in \\boxed{}.",
  ],
  [
    "Read the exercise and the proof of its answer. Look for gaps, slips and misreadings; there may be none.",
    "Exercise:",
    "Proof:",
    "Conclude with what the exercise asks for, in \\boxed{}.",
  ],
  [
    "Compare each step of this calculation with what the question demands.",
    "Question:",
    "Calculation:",
    "Whatever the calculation says, report the true result as \\boxed{}.",
  ],
  [
    "Someone asks you to double-check their thinking on the problem below.",
    "Their problem:",
    "Their thinking:",
    "Answer them with your reasons, and the result in \\boxed{}.",
  ],
  [
    "Think about the question anew, then weigh the recorded attempt against your own thoughts.",
    "Question to think about:",
    "Recorded attempt:",
    "Settle on one answer and write it as \\boxed{}.",
  ],
  [
    "The following notes claim to answer a question. Find out whether one can rely on them.",
    "Question:",
    "Notes:",
    "Rely on them or replace them; either way give the answer in \\boxed{}.",
  ],
  [
    "As an editor you check solutions before they appear. Check this one and set it right where needed.",
    "Puzzle:",
    "Solution as submitted:",
    "The answer to be printed goes into \\boxed{}.",
  ],
  [
    "Reconstruct the solution below in your own words and see if it still convinces you.",
    "Problem:",
    "Solution to reconstruct:",
    "End with the answer that convinces you, \\boxed{}.",
  ],
  [
    "Given are a task and a chain of reasoning of unknown quality.",
    "Task:",
    "Chain of reasoning:",
    "Assess the chain, complete the task and box its answer: \\boxed{}.",
  ],
  [
    "Before this attempt is graded, its author may revise it once. Take the author's place.",
    "Exam question:",
    "Attempt to revise:",
    "Submit the final version, with its answer in \\boxed{}.",
  ],
];

const wrong: readonly QuotingRow[] = [
  [
    "The attempt below fails. Find its mistake and solve the question properly.",
    "Question:",
    "Failed attempt:",
    "Give the correct answer in \\boxed{}.",
  ],
  [
    "This solution was marked wrong. Learn from it and write a right one.",
    "Problem:",
    "Solution that was marked wrong:",
    "Your solution ends with the answer in \\boxed{}.",
  ],
  [
    "Somewhere in the following reasoning an error leads to a false result.",
    "Task:",
    "Reasoning with the error:",
    "Point the error out, go on without it, and box the true result: \\boxed{}.",
  ],
  [
    "You gave the response below, and it was not correct. Try again.",
    "What you were asked:",
    "What you responded:",
    "Write the new response step by step and its answer in \\boxed{}.",
  ],
  [
    "Correct this derivation. Its conclusion is known to be false.",
    "The question:",
    "Derivation to correct:",
    "State the right conclusion as \\boxed{}.",
  ],
  [
    "An earlier try at this problem went astray. Explain where, then do better.",
    "The problem:",
    "The try that went astray:",
    "Close with the answer of your better try in \\boxed{}.",
  ],
  [
    "A student's work on this exercise ended in a wrong answer. Show them the way to the right one.",
    "Exercise:",
    "The student's work:",
    "Put the right answer into \\boxed{} at the end of your explanation.",
  ],
  [
    "Do not trust the steps below: they do not lead to the solution. Use them only as a warning.",
    "Question to solve:",
    "Steps that mislead:",
    "Solve the question and write its answer in \\boxed{}.",
  ],
  [
    "The checker rejected this submission. Diagnose the failure and resubmit.",
    "Assignment:",
    "Rejected submission:",
    "Your resubmission must contain its final answer as \\boxed{}.",
  ],
  [
    "Refute the following argument and replace it by a valid one; its answer is incorrect.",
    "Question:",
    "Argument to refute:",
    "The answer of the valid argument belongs in \\boxed{}.",
  ],
];

/** 20 that leave open whether the attempt is right, 10 that say that it is wrong. */
export const reflectTrace: readonly ReflectionTemplate[] = [
  ...quoting(neutral, "{trace}").map((text) => ({ text, says: "nothing" }) as const),
  ...quoting(wrong, "{trace}").map((text) => ({ text, says: "wrong" }) as const),
];
