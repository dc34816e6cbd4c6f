import type { ReflectionTemplate } from "../../contract/forms.js";
import { type QuotingRow, quoting } from "./layout.js";

const neutral: readonly QuotingRow[] = [
  [
    "An answer to this question has been suggested. Decide whether it is right; confirm or correct it.",
    "Question:",
    "Suggested answer:",
    "Show your reasoning and give the final answer in \\boxed{}.",
  ],
  [
    "Solve the problem, then compare with the answer that someone else has found.",
    "Problem:",
    "Someone else's answer:",
    "Report the answer that you hold to be right as \\boxed{}.",
  ],
  [
    "A first answer to the task is on record. Reconsider it from the beginning.",
    "Task:",
    "Answer on record:",
    "Write the answer after reconsideration in \\boxed{}.",
  ],
  [
    "You may keep or change the answer below. Either needs an argument.",
    "The question:",
    "The current answer:",
    "Argue, and end with the answer you choose: \\boxed{}.",
  ],
  [
    "Is this final value the one that the problem asks for? Find out by solving it.",
    "Problem statement:",
    "Final value:",
    "Finish with the value that the problem asks for, in \\boxed{}.",
  ],
  [
    "An assistant answered as follows without showing its work. Supply the work, and the answer it leads to.",
    "Request:",
    "Answer without work:",
    "Put what your work leads to into \\boxed{}.",
  ],
  [
    "Reflect on whether the following answer can be right, given what the question says.",
    "What the question says:",
    "The answer in question:",
    "After your reflection, state the right answer within \\boxed{}.",
  ],
  [
    "Treat the answer below as a hypothesis and put it to the test.",
    "The problem:",
    "Hypothesis:",
    "Give what the test leaves standing, or what has to replace it, as \\boxed{}.",
  ],
  [
    "A friend got this result and is not sure of it. Help them to be sure.",
    "Their question:",
    "Their result:",
    "Explain the solution to them and put its result in \\boxed{}.",
  ],
  [
    "Verify an entry of an answer sheet before it goes out.",
    "Item:",
    "Entry:",
    "Work the item out and write the entry as it should read: \\boxed{}.",
  ],
  [
    "Answer the question below. For comparison, here is what was answered last time, right or wrong.",
    "Question to answer:",
    "Last time's answer:",
    "Your own answer, with reasons before it, goes into \\boxed{}.",
  ],
  [
    "Revisit an exercise that was done in a hurry. Its result may need changing.",
    "Exercise:",
    "Hurried result:",
    "Take your time and close with the result in \\boxed{}.",
  ],
  [
    "Check by a full solution whether the number or expression given is the answer.",
    "Question:",
    "Given as the answer:",
    "If it is, repeat it in \\boxed{}; if it is not, put the true answer there.",
  ],
  [
    "The solution manual lists an answer to this puzzle. Manuals are mostly right, not always.",
    "Puzzle:",
    "Listed in the manual:",
    "Solve the puzzle and box its answer: \\boxed{}.",
  ],
  [
    "Suppose that you had answered as below. Would you still, after thinking it over?",
    "Question to think over:",
    "Your supposed answer:",
    "Think it over in writing and end with \\boxed{}.",
  ],
  [
    "Below, a problem and a reply whose origin is unknown. Establish the correct reply.",
    "Problem:",
    "Reply of unknown origin:",
    "Set out your steps; the correct reply stands last, in \\boxed{}.",
  ],
  [
    "In a second round each team may revise its answer. This is your team's.",
    "Quiz question:",
    "Answer of the first round:",
    "Discuss it and submit the answer of the second round as \\boxed{}.",
  ],
  [
    "Reproduce the following result if it can be reproduced, and replace it if it cannot.",
    "The problem it belongs to:",
    "Result to reproduce:",
    "The outcome of your calculation belongs in \\boxed{}.",
  ],
  [
    "Consider carefully the task and one possible answer to it.",
    "Task:",
    "Possible answer:",
    "When you have considered both, write down the correct answer as \\boxed{}.",
  ],
  [
    "An examiner wants to know whether this answer stands up to a close look.",
    "Exam question:",
    "Answer to look at:",
    "Take the close look and give the answer that stands up to it: \\boxed{}.",
  ],
];

const wrong: readonly QuotingRow[] = [
  [
    "The answer below is wrong. Solve the question properly.",
    "Question:",
    "Wrong answer:",
    "Reason step by step and give the correct answer in \\boxed{}.",
  ],
  [
    "This answer was checked and found to be incorrect. Find the correct one.",
    "Problem:",
    "Incorrect answer:",
    "Write the correct one as \\boxed{} after your solution.",
  ],
  [
    "You answered the following and missed. Have another go.",
    "What you were asked:",
    "What you answered:",
    "Think again from the start and close with \\boxed{}.",
  ],
  [
    "The result shown is not what the task asks for. Work out what is.",
    "Task:",
    "Result that is not it:",
    "Put the result that is into \\boxed{}.",
  ],
  [
    "A student's answer received no marks. Produce one that would receive all of them.",
    "Exam question:",
    "Answer without marks:",
    "Show every step and end with the answer in \\boxed{}.",
  ],
  [
    "Rule out the answer below, since it is false, and determine the true one.",
    "The question:",
    "Answer to rule out:",
    "State the true one within \\boxed{}.",
  ],
  [
    "There is a mistake behind this answer. Avoid it in a solution of your own.",
    "The problem:",
    "Mistaken answer:",
    "Your solution ends with its answer as \\boxed{}.",
  ],
  [
    "The automatic checker turned this entry down. Enter something that it will take.",
    "Exercise:",
    "Entry turned down:",
    "Solve the exercise and enter the right answer: \\boxed{}.",
  ],
  [
    "Correct the record: the answer on file for this question is known to be in error.",
    "Question on file:",
    "Erroneous answer on file:",
    "Give the reasons for the correction and the corrected answer in \\boxed{}.",
  ],
  [
    "Whoever gave this answer went wrong somewhere. Do not repeat it.",
    "Puzzle:",
    "Answer not to be repeated:",
    "Solve the puzzle and present its solution in \\boxed{}.",
  ],
];

/** 20 that leave open whether the answer is right, 10 that say that it is wrong. */
export const reflectAnswer: readonly ReflectionTemplate[] = [
  ...quoting(neutral, "{answer}").map((text) => ({ text, says: "nothing" }) as const),
  ...quoting(wrong, "{answer}").map((text) => ({ text, says: "wrong" }) as const),
];
