import type { Question } from "../contract/data.js";
import type { Demonstration, Task } from "../contract/task.js";
import { exact } from "../verifiers/exact.js";
import { shuffled } from "./shuffled.js";

const base = 4;
const digits = 4;
const heldOut = 64;

/** The running sums modulo the base, first digit left out: the last one is the answer. */
export function trace(summands: readonly number[]): number[] {
  const sums: number[] = [];
  summands.reduce((sum, digit) => {
    sums.push((sum + digit) % base);
    return sums.at(-1)!;
  });
  return sums;
}

/** The answer of a completion: its last symbol where that is a digit, else null. */
export function answerOf(completion: string): string | null {
  return /[0-3]$/.test(completion) ? completion.slice(-1) : null;
}

function questionOf(summands: readonly number[]): Question {
  const asked = summands.join("");
  return {
    id: `arithmetic/${asked}`,
    messages: [{ role: "user", content: `${asked}=` }],
    label: String(trace(summands).at(-1)),
    columns: {},
    kind: "policy",
  };
}

/** All questions in one shuffled order: the held-out ones are the same for every run and seed. */
const questions = shuffled(
  Array.from({ length: base ** digits }, (_, i) =>
    Array.from({ length: digits }, (_, d) => Math.floor(i / base ** d) % base),
  ),
  4,
);
const evaluation = questions.slice(0, heldOut);
const training = questions.slice(heldOut);

/** A demonstration of a random training question, with the trace that `write` makes of it. */
function demonstrate(
  uniform: () => number,
  write: (summands: readonly number[]) => readonly number[],
): Demonstration {
  const summands = training[Math.floor(uniform() * training.length)]!;
  return { question: questionOf(summands), completion: write(summands).join("") };
}

/**
 * A trace by someone who has the skill but slips: where a sum wraps around, v + 1 with probability
 * `wrap`, else a random digit with probability `noise`. Later sums go on from what was written.
 */
export function blurredTrace(
  summands: readonly number[],
  uniform: () => number,
  { wrap = 0.6, noise = 0.05 } = {},
): number[] {
  const sums: number[] = [];
  summands.reduce((sum, digit) => {
    const exactSum = sum + digit;
    let written = exactSum % base;
    if (exactSum >= base && uniform() < wrap) written = (written + 1) % base;
    else if (uniform() < noise) written = Math.floor(uniform() * base);
    sums.push(written);
    return written;
  });
  return sums;
}

/**
 * Sums of four digits modulo 4: `qqqq=` is answered by the trace of running sums `ttt`, whose last
 * digit is the answer. 256 questions, 64 of them held out. A small transformer learns the exact skill
 * from demonstrations, a blurred stage then hides it, and reinforcement recovers it.
 *
 * Measured with grpo, seeds 1, 2, 3: the loss falls below .01 within 300 correct steps; held-out
 * accuracy (T = 1, 16 samples) is .42, .40, .37 after the warm start and 1.0, .99, .99 after 50 steps of
 * 4 updates each.
 */
export const arithmetic: Task = {
  id: "arithmetic",
  title: "Sums of four digits modulo 4, by a trace of running sums",
  kind: "tokens",
  // The digits, and the marks of every form that a prompt can take (judging, reflection).
  alphabet: "0123=?:|!ynAB",
  train: training.map(questionOf),
  evaluation: evaluation.map(questionOf),
  rewards: {
    correct: ({ completions, prompts }) =>
      completions.map((text, i) => exact(answerOf(text), String(prompts[i]!.label))),
  },
  binaryRewards: true,
  accuracy: "correct",
  demonstrate: ({ id }) => trace([...id.slice(-digits)].map(Number)).join(""),
  answer: answerOf,
  warmStart: [
    {
      name: "correct",
      steps: 300,
      batchSize: 32,
      learningRate: [
        { step: 0, rate: 0 },
        { step: 30, rate: 2e-3 },
      ],
      draw: (uniform) => demonstrate(uniform, trace),
    },
    {
      name: "blurred",
      steps: 150,
      batchSize: 32,
      learningRate: [{ step: 0, rate: 2e-3 }],
      draw: (uniform) => demonstrate(uniform, (summands) => blurredTrace(summands, uniform)),
    },
  ],
  policy: { layers: 2, width: 64, heads: 2, kvHeads: 2, hidden: 128 },
  settings: {
    steps: 50,
    promptsPerStep: 32,
    numGenerations: 8,
    temperature: 1,
    maxCompletionLength: 6,
    minibatchSize: 64,
    numIterations: 1,
    learningRate: 2e-4,
    maxGradNorm: 1,
    evalSamples: 16,
  },
};
