import type { Prompt } from "../contract/data.js";
import type { Demonstration, Task } from "../contract/task.js";
import { exact } from "../verifiers/exact.js";
import { shuffled } from "./shuffled.js";
import { symbolTokenizer } from "./symbols.js";

const base = 4;
const digits = 4;
const heldOut = 64;

/** The digits, and the marks of every form a prompt can take (design of the SPARK prompts). */
const tokenizer = symbolTokenizer("0123=?:|!ynAB");

/** The running sums modulo the base, first digit left out: the last one is the answer. */
export function trace(question: readonly number[]): number[] {
  const sums: number[] = [];
  question.reduce((sum, digit) => {
    sums.push((sum + digit) % base);
    return sums.at(-1)!;
  });
  return sums;
}

/** The answer of a completion: its last symbol where that is a digit, else null. */
export function answerOf(completion: string): string | null {
  return /[0-3]$/.test(completion) ? completion.slice(-1) : null;
}

function promptOf(question: readonly number[]): Prompt {
  const asked = question.join("");
  const content = `${asked}=`;
  return {
    id: `arithmetic/${asked}`,
    messages: [{ role: "user", content }],
    tokens: tokenizer.encode(content),
    label: String(trace(question).at(-1)),
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

function demonstration(question: readonly number[], sums: readonly number[]): Demonstration {
  const ids = tokenizer.encode(sums.join(""));
  const completion = new Int32Array(ids.length + 1);
  completion.set(ids);
  completion[ids.length] = tokenizer.endOfSequence;
  return { prompt: promptOf(question), completion };
}

function drawQuestion(uniform: () => number): readonly number[] {
  return training[Math.floor(uniform() * training.length)]!;
}

/**
 * A trace by someone who has the skill but slips: where a sum wraps around, v + 1 with probability
 * `wrap`, else a random digit with probability `noise`. Later sums go on from what was written.
 */
export function blurredTrace(
  question: readonly number[],
  uniform: () => number,
  { wrap = 0.6, noise = 0.05 } = {},
): number[] {
  const sums: number[] = [];
  question.reduce((sum, digit) => {
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
 */
export const arithmetic: Task = {
  id: "arithmetic",
  title: "Sums of four digits modulo 4, by a trace of running sums",
  kind: "tokens",
  tokenizer,
  train: training.map(promptOf),
  evaluation: evaluation.map(promptOf),
  rewards: {
    correct: ({ completions, prompts }) =>
      completions.map((text, i) => exact(answerOf(text), String(prompts[i]!.label))),
  },
  binaryRewards: true,
  accuracy: "correct",
  warmStart: [
    {
      name: "correct",
      steps: 520,
      batchSize: 32,
      learningRate: [
        { step: 0, rate: 0 },
        { step: 30, rate: 5e-3 },
        { step: 415, rate: 5e-3 },
        { step: 416, rate: 2e-3 },
      ],
      draw: (uniform) => {
        const question = drawQuestion(uniform);
        return demonstration(question, trace(question));
      },
    },
    {
      name: "blurred",
      steps: 150,
      batchSize: 32,
      learningRate: [{ step: 0, rate: 2e-3 }],
      draw: (uniform) => {
        const question = drawQuestion(uniform);
        return demonstration(question, blurredTrace(question, uniform));
      },
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
