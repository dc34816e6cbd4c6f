import { describe, expect, test } from "vitest";
import {
  blurredDemonstration,
  correctDemonstration,
} from "../../src/tasks/arithmetic/demonstrations.js";
import { arithmetic } from "../../src/tasks/arithmetic/index.js";
import { answerOf } from "../../src/tasks/arithmetic/questions.js";
import { blurredTrace, trace } from "../../src/tasks/arithmetic/trace.js";
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
    const texts = Object.values(arithmetic.evaluations!)
      .flat()
      .map(({ messages }) => messages[0]!.content);
    for (const { draw } of arithmetic.warmStart) {
      for (let i = 0; i < 50; ++i) {
        const { question, completion } = draw(uniform);
        texts.push(question.messages[0]!.content + completion);
      }
    }
    const foreign = [...texts.join("")].filter((symbol) => !arithmetic.alphabet!.includes(symbol));
    expect(foreign).toEqual([]);
  });

  test.each([
    ["123", "policy", "3"],
    ["3", undefined, "3"],
    ["12y", "policy", null],
    ["", "policy", null],
    ["12=", "reflectTrace", null],
    ["120", "reflectAnswer", "0"],
    ["123y", "pointwise", "y"],
    ["123n", "pointwise", "n"],
    ["123A", "pointwise", null],
    ["123B", "pairwise", "B"],
    ["123", "pairwise", null],
    ["y12", "pointwise", null],
  ])("the answer of %j to a %s question is %j", (completion, kind, answer) => {
    expect(answerOf(completion, kind)).toBe(answer);
  });

  test("its held-out judgements are balanced, and follow from held-out questions alone", () => {
    const sets = arithmetic.evaluations!;
    const held = new Set(arithmetic.evaluation.map(({ id }) => id));
    const labels = (name: string) => sets[name]!.map(({ label }) => label);
    const count = (name: string, label: string) => labels(name).filter((l) => l === label).length;
    expect([
      count("judge/pointwise_accuracy", "y"),
      count("judge/pointwise_accuracy", "n"),
    ]).toEqual([64, 64]);
    expect([count("judge/pairwise_accuracy", "A"), count("judge/pairwise_accuracy", "B")]).toEqual([
      64, 64,
    ]);
    for (const { id, kind, label, messages } of Object.values(sets).flat()) {
      expect(held.has(id.slice(0, id.lastIndexOf("/")))).toBe(true);
      const [quoted, asked] = messages[0]!.content.split(":") as [string, string];
      const sum = String([...asked.slice(0, 4)].reduce((a, b) => a + Number(b), 0) % 4);
      if (kind === "pointwise") expect(label).toBe(quoted[1] === sum ? "y" : "n");
      else if (kind === "pairwise") {
        expect(quoted[label === "A" ? 0 : 2]).toBe(sum);
        expect(quoted[label === "A" ? 2 : 0]).not.toBe(sum);
      } else {
        expect(label).toBe(sum);
        expect(quoted.at(-1)).not.toBe(sum);
      }
    }
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
    const judging = { ...prompts[0]!, kind: "pairwise", label: "A" };
    const judged = {
      ...ctx,
      prompts: [judging, judging, judging],
      completions: ["12A", "12B", "1"],
    };
    expect(await arithmetic.rewards.correct!(judged)).toEqual([1, 0, 0]);
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
      const asked = draws[0]!.map(({ question: { id } }) => id.split("/").slice(0, 2).join("/"));
      expect(asked.some((id) => held.has(id))).toBe(false);
    }
  });

  test("60 % judge or revise; verdicts follow from the trace, blurred ones half of the time", () => {
    const agreement = (draw: typeof correctDemonstration) => {
      const uniform = uniformAt(11, "stage");
      const kinds: Record<string, number> = {};
      let follows = 0;
      let judged = 0;
      for (let i = 0; i < 4000; ++i) {
        const { question, completion = "" } = draw(uniform);
        kinds[question.kind!] = (kinds[question.kind!] ?? 0) + 1;
        if (question.kind !== "pointwise") continue;
        const claimed = question.messages[0]!.content[1];
        ++judged;
        if ((completion[3] === "y") === (completion[2] === claimed)) ++follows;
      }
      return { kinds, share: follows / judged };
    };
    const correct = agreement(correctDemonstration);
    expect(Math.abs(correct.kinds.policy! / 4000 - 0.4)).toBeLessThan(0.04);
    expect(Object.keys(correct.kinds)).toHaveLength(5);
    expect(correct.share).toBe(1);
    // .5 + .5 / 2, five standard errors of 800 draws wide.
    expect(Math.abs(agreement(blurredDemonstration).share - 0.75)).toBeLessThan(0.08);
  });
});
