import { describe, expect, test } from "vitest";
import { answerOf, arithmetic, blurredTrace, trace } from "../../src/tasks/arithmetic.js";
import { uniformAt } from "../../src/trainer/random.js";

describe("the arithmetic task", () => {
  test("has 256 questions, 64 of them held out", () => {
    const ids = (questions: readonly { id: string }[]) => questions.map(({ id }) => id);
    expect(arithmetic.train).toHaveLength(192);
    expect(arithmetic.evaluation).toHaveLength(64);
    expect(new Set([...ids(arithmetic.train), ...ids(arithmetic.evaluation)]).size).toBe(256);
  });

  test("the label of every question is the digits' sum modulo 4", () => {
    for (const { messages, label } of [...arithmetic.train, ...arithmetic.evaluation]) {
      const digits = [...messages[0]!.content.slice(0, 4)].map(Number);
      expect(messages[0]!.content).toMatch(/^[0-3]{4}=$/);
      expect(label).toBe(String(digits.reduce((a, b) => a + b) % 4));
    }
  });

  test("every text is within the alphabet", () => {
    const uniform = uniformAt(1, "stage");
    for (const stage of arithmetic.warmStart) {
      const { question, completion } = stage.draw(uniform);
      const text = question.messages[0]!.content + completion;
      expect([...text].filter((symbol) => !arithmetic.alphabet!.includes(symbol))).toEqual([]);
    }
  });

  test.each([
    ["123", "3"],
    ["3", "3"],
    ["12y", null],
    ["", null],
    ["12=", null],
  ])("the answer of %j is its last digit: %j", (completion, answer) => {
    expect(answerOf(completion)).toBe(answer);
  });

  test("the reward is 1 for the right answer, else 0", async () => {
    const prompts = arithmetic.train
      .slice(0, 3)
      .map((question) => ({ ...question, tokens: new Int32Array() }));
    const wrong = String((Number(prompts[1]!.label) + 1) % 4);
    const ctx = {
      prompts,
      completions: [`00${prompts[0]!.label}`, `00${wrong}`, ""],
      trajectories: [],
      columns: {},
      signal: new AbortController().signal,
    };
    expect(await arithmetic.rewards.correct!(ctx)).toEqual([1, 0, 0]);
  });
});

describe("demonstrations", () => {
  test("correct traces are the running sums", () => {
    expect(trace([1, 2, 3, 3])).toEqual([3, 2, 1]);
  });

  test("a blurred trace goes wrong where a sum wraps, about as often as it should", () => {
    const uniform = uniformAt(5, "stage");
    const count = 4000;
    let wrapped = 0;
    let plain = 0;
    for (let i = 0; i < count; ++i) {
      if (blurredTrace([2, 3, 0, 0], uniform)[0] !== 1) ++wrapped;
      if (blurredTrace([1, 1, 0, 0], uniform)[0] !== 2) ++plain;
    }
    // .6 + .4 * .05 * 3/4 and .05 * 3/4, five standard errors wide.
    expect(Math.abs(wrapped / count - 0.615)).toBeLessThan(0.04);
    expect(Math.abs(plain / count - 0.0375)).toBeLessThan(0.016);
  });

  test("never show a held-out question, and depend on the draws alone", () => {
    const held = new Set(arithmetic.evaluation.map(({ id }) => id));
    for (const stage of arithmetic.warmStart) {
      const draws = [1, 2].map(() => {
        const uniform = uniformAt(9, "warmStart", 1);
        return Array.from({ length: 300 }, () => stage.draw(uniform));
      });
      expect(draws[0]).toEqual(draws[1]);
      expect(draws[0]!.some(({ question }) => held.has(question.id))).toBe(false);
    }
  });
});
