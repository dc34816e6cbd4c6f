import type { PointwiseTemplate } from "../../contract/forms.js";
import { type QuotingRow, quoting } from "./layout.js";

const yesOrNo: readonly QuotingRow[] = [
  [
    "Someone has answered the question below. Work the question out and decide whether that answer is right.",
    "Question:",
    "Answer given:",
    "Is the answer right? Reason first, then finish with \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Check the proposed answer to this problem.",
    "Problem:",
    "Proposed answer:",
    "Explain how you checked it and end with your verdict, \\boxed{Yes} if it is correct and \\boxed{No} if it is not.",
  ],
  [
    "You are marking an exam. For the task below only the student's final result is known.",
    "Task:",
    "The student's result:",
    "Does the result deserve full marks? Give your reasons, then \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Read the question, solve it on your own, and compare what you find with the answer that follows.",
    "The question:",
    "The answer to compare with:",
    "Do the two agree? Put Yes or No into a box at the end: \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Verify the following claim about a question: that the answer under it is true.",
    "Question:",
    "Claimed answer:",
    "State whether the claim holds, after showing your work, as \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "An assistant was asked a question and replied with the answer below. It may have made a mistake.",
    "What was asked:",
    "What it replied:",
    "Was the reply correct? Think it through and close with \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Judge the correctness of a final answer. How it was found does not matter, only whether it is right.",
    "Problem statement:",
    "Final answer:",
    "Write down your derivation and give the judgement as \\boxed{Yes} (correct) or \\boxed{No} (incorrect).",
  ],
  [
    "Please act as a careful reviewer of this question and its answer.",
    "Question under review:",
    "Answer under review:",
    "Would you let the answer stand? After your review, write \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Here is a problem together with a candidate solution value. Find out whether the value solves the problem.",
    "Problem:",
    "Candidate value:",
    "Conclude with \\boxed{Yes} when it does and \\boxed{No} when it does not, preceded by your reasoning.",
  ],
  [
    "Before an answer key is printed, each entry has to be confirmed. Confirm or reject this one.",
    "Exercise:",
    "Entry in the key:",
    "Is the entry right? Show the check, then answer \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Take the question below step by step, without trusting the answer that is printed under it.",
    "Question:",
    "Printed answer:",
    "Having reached your own result, say whether the printed one is correct: \\boxed{Yes} or \\boxed{No}.",
  ],
  [
    "Evaluate one response. Partial correctness counts as wrong.",
    "The task was:",
    "The response was:",
    "Is the response entirely correct? Argue briefly and end with \\boxed{Yes} or \\boxed{No}.",
  ],
];

const aOrB: readonly QuotingRow[] = [
  [
    "Decide which of two statements about the answer below is true. (A) The answer is right. (B) The answer is wrong.",
    "Question:",
    "Answer:",
    "Reason about the question, then name the true statement: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Grade the answer to this problem. There are two grades: A for a correct answer, B for an incorrect one.",
    "Problem:",
    "Answer to be graded:",
    "Explain the grade and write it as \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Classify the submitted answer. Class A holds correct answers, class B holds incorrect ones.",
    "Task:",
    "Submitted answer:",
    "Solve the task yourself first; the class comes last, as \\boxed{A} or \\boxed{B}.",
  ],
  [
    "A reader sent in a solution to the puzzle below. Choose what to tell them: A, your solution is correct; B, your solution is not correct.",
    "Puzzle:",
    "Solution sent in:",
    "Work the puzzle out, then choose \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Multiple choice: how does the given answer relate to the true one? A: it agrees with it. B: it differs from it.",
    "Question:",
    "Given answer:",
    "Derive the true answer and select your choice in a box, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Your job is to accept or to reject an answer. Accepting is option A, rejecting is option B.",
    "The problem:",
    "The answer on the table:",
    "Justify the decision in a few steps and put its letter into a box: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Look at the question and at what was answered. Option A says that the answer is true, option B that it is false.",
    "Question asked:",
    "What was answered:",
    "Which option is right? Think before you write \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Audit a result. Report A when the result is correct and B when you find it to be in error.",
    "Original problem:",
    "Result to audit:",
    "The report consists of your reasoning and, at the very end, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "For the following exercise a machine has produced an answer. Mark it A if it is the correct one and B otherwise.",
    "Exercise:",
    "Machine's answer:",
    "Do the exercise with care; your mark goes into a box: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Two colleagues disagree about an answer: one holds that it is correct (A), the other that it is mistaken (B). Settle the matter.",
    "The question they discuss:",
    "The answer in dispute:",
    "Give the argument that settles it and then the letter of the colleague who is right, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Test the answer below against the question. Pass is coded as A, fail as B.",
    "Question:",
    "Answer under test:",
    "Describe the test and record its outcome as \\boxed{A} or \\boxed{B}.",
  ],
  [
    'Consider a problem and one possible answer. Let A stand for "this solves the problem" and B for "this does not solve the problem".',
    "Problem:",
    "Possible answer:",
    "Reach your conclusion step by step, and give its letter in the form \\boxed{A} or \\boxed{B}.",
  ],
];

/** 12 that ask for Yes or No, 12 that ask for A (right) or B (wrong). */
export const pointwise: readonly PointwiseTemplate[] = [
  ...quoting(yesOrNo, "{answer}").map((text) => ({ text, right: "Yes", wrong: "No" })),
  ...quoting(aOrB, "{answer}").map((text) => ({ text, right: "A", wrong: "B" })),
];
