import { laidOut } from "./layout.js";

/** Instruction, headings of the question and of both answers, cue. */
type Row = readonly [string, string, string, string, string];

const rows: readonly Row[] = [
  [
    "Two answers to the same question are given below. Exactly one of them is right. Find out which.",
    "Question:",
    "Answer A:",
    "Answer B:",
    "Reason about the question and finish with \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Compare two final answers to a problem and choose the correct one.",
    "Problem:",
    "Answer A:",
    "Answer B:",
    "Show how you decide, then write your choice as \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Two students handed in different results for this task. One of them solved it.",
    "Task:",
    "Result of student A:",
    "Result of student B:",
    "Who solved it? Solve the task yourself and end with \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Solve the question first. Then say which of the two candidates agrees with your result.",
    "The question:",
    "Candidate A:",
    "Candidate B:",
    "Your derivation comes first and the candidate's letter last: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "You are the referee between two answers, only one of which is true.",
    "What was asked:",
    "Answer A says:",
    "Answer B says:",
    "Announce the winner in a box, \\boxed{A} or \\boxed{B}, after explaining why it wins.",
  ],
  [
    "An assistant was asked twice and contradicted itself. Decide which of its replies to keep.",
    "Question put to it:",
    "Reply A:",
    "Reply B:",
    "Think it through, then name the reply to keep: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Of the two values below one satisfies the problem and the other does not.",
    "Problem statement:",
    "Value A:",
    "Value B:",
    "Check both values and report the one that does as \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Judge a pair of responses by correctness alone. Style and length do not count.",
    "Prompt:",
    "Response A:",
    "Response B:",
    "Give your reasons, and then the better response: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "A print shop has two versions of an answer key for this exercise. Pick the version without the mistake.",
    "Exercise:",
    "Version A:",
    "Version B:",
    "Do the exercise and print the letter of the sound version in a box: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Here is a question with two options. Treat it as a multiple-choice item with a single correct option.",
    "Question:",
    "Option A:",
    "Option B:",
    "Work carefully and mark the correct option as \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Tell a right answer from a wrong one. Do not assume that the first is more likely to be right.",
    "The problem:",
    "First answer (A):",
    "Second answer (B):",
    "After your analysis, state which answer is right with \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Two people argue about the solution of a puzzle. Work the puzzle out to see who is right.",
    "Puzzle:",
    "Person A claims:",
    "Person B claims:",
    "Close your reasoning with the letter of whoever is right, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Select the answer that deserves full marks; the other deserves none.",
    "Exam question:",
    "Script A:",
    "Script B:",
    "Justify the marking step by step and select \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Below are a question and two conflicting conclusions, exactly one of which is correct.",
    "Question:",
    "Conclusion A:",
    "Conclusion B:",
    "Say which conclusion follows, as \\boxed{A} or \\boxed{B}, once you have shown that it does.",
  ],
  [
    "Please verify both answers against the problem and discard the faulty one.",
    "Problem:",
    "Answer A to verify:",
    "Answer B to verify:",
    "The answer that remains is: write \\boxed{A} or \\boxed{B} after your verification.",
  ],
  [
    "Act as an impartial judge. Only the truth of the final answer matters.",
    "The question before you:",
    "Side A answers:",
    "Side B answers:",
    "Deliver your reasoning and then the ruling, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Two programs computed a result for the same task, and one of them has a bug.",
    "Task description:",
    "Output of program A:",
    "Output of program B:",
    "Compute the result yourself and name the program without the bug: \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Rank two proposals for the answer to a question: the correct one comes first.",
    "Question:",
    "Proposal A:",
    "Proposal B:",
    "Explain the ranking and put the proposal that comes first into a box, \\boxed{A} or \\boxed{B}.",
  ],
  [
    "A reviewer has to recommend one of two solutions for publication. The other one contains an error.",
    "Problem to be solved:",
    "Solution A:",
    "Solution B:",
    "Which should be recommended? Argue from the problem and conclude with \\boxed{A} or \\boxed{B}.",
  ],
  [
    "Consider the question on its own merits before you look at the answers. Then match.",
    "Question:",
    "Possible answer A:",
    "Possible answer B:",
    "Write the letter of the answer that matches your own, \\boxed{A} or \\boxed{B}, below your reasoning.",
  ],
];

/** 20 that ask for the right one of two answers. */
export const pairwise: readonly string[] = rows.map(([instruction, asked, a, b, cue]) =>
  laidOut(
    instruction,
    [
      [asked, "{question}"],
      [a, "{answerA}"],
      [b, "{answerB}"],
    ],
    cue,
  ),
);
