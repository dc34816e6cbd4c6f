import { describe, expect, test } from "vitest";
import type { Question } from "../../src/contract/index.js";
import { fill, naturalLanguage, pointwiseQuestion } from "../../src/forms/index.js";

const { pointwise, pairwise, reflectTrace, reflectAnswer } = naturalLanguage;
const textsOf = (templates: readonly { text: string }[]) => templates.map(({ text }) => text);
const quotes = {
  pointwise: ["question", "answer"],
  pairwise: ["question", "answerA", "answerB"],
  reflectTrace: ["question", "trace"],
  reflectAnswer: ["question", "answer"],
};
const texts = {
  pointwise: textsOf(pointwise),
  pairwise,
  reflectTrace: textsOf(reflectTrace),
  reflectAnswer: textsOf(reflectAnswer),
};
const kinds = Object.keys(texts) as (keyof typeof texts)[];

const question: Question = {
  id: "q",
  messages: [
    { role: "system", content: "Be brief." },
    { role: "user", content: "What is 1 + 1?\nThink first." },
  ],
  label: "2",
  columns: { suffix: "\nThink first.", source: "here" },
};

describe("the English templates", () => {
  test("come in the numbers of the paper's lists", () => {
    expect(kinds.map((kind) => texts[kind].length)).toEqual([24, 20, 30, 30]);
    const verdicts = pointwise.map(({ right, wrong }) => `${right}/${wrong}`);
    expect(verdicts.filter((v) => v === "Yes/No")).toHaveLength(12);
    expect(verdicts.filter((v) => v === "A/B")).toHaveLength(12);
    for (const list of [reflectTrace, reflectAnswer]) {
      expect(list.filter(({ says }) => says === "nothing")).toHaveLength(20);
      expect(list.filter(({ says }) => says === "wrong")).toHaveLength(10);
    }
  });

  test("differ from each other in every part", () => {
    const all = kinds.flatMap((kind) => texts[kind]);
    expect(new Set(all).size).toBe(104);
    for (const kind of kinds) {
      const parts = texts[kind].map((text) => text.split("\n\n"));
      expect(new Set(parts.map((p) => p[0])).size).toBe(parts.length);
      expect(new Set(parts.map((p) => p.at(-1))).size).toBe(parts.length);
    }
  });

  test.each(kinds)("%s quotes each thing once and asks for a box last", (kind) => {
    for (const text of texts[kind]) {
      const placeholders = [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const boxed = /\\boxed\{\w+\}/g;
      const quoted = placeholders.filter((name) => !["Yes", "No", "A", "B"].includes(name!));
      expect(quoted.sort(), text).toEqual([...quotes[kind]].sort());
      const [instruction, ...rest] = text.split("\n\n");
      const cue = rest.at(-1)!;
      expect(instruction!.length, text).toBeGreaterThan(20);
      expect(cue, text).toContain("\\boxed{");
      expect(text.slice(0, -cue.length), text).not.toContain("boxed");
      expect(text, text).toMatch(/[.!?}:]$/);
      if (kind.startsWith("reflect")) expect(cue.match(/\\boxed\{\}/g), text).toHaveLength(1);
      else expect(cue.match(boxed), text).toHaveLength(2);
    }
  });

  test("verdicts are those that the cue offers", () => {
    for (const { text, right, wrong } of pointwise) {
      expect(text).toContain(`\\boxed{${right}}`);
      expect(text).toContain(`\\boxed{${wrong}}`);
    }
    for (const text of pairwise) expect(text).toMatch(/\\boxed\{A\} or \\boxed\{B\}/);
  });
});

describe("a question about another one", () => {
  test("keeps the system message and the columns, and quotes without the appended instruction", () => {
    const made = pointwiseQuestion(naturalLanguage, question, 0, { answer: "$&3", right: false });
    expect(made).toMatchObject({ id: "q/pointwise", kind: "pointwise", label: "No" });
    expect(made.columns).toEqual(question.columns);
    expect(made.messages.map(({ role }) => role)).toEqual(["system", "user"]);
    const text = made.messages[1]!.content;
    expect(text).toContain("What is 1 + 1?");
    expect(text).not.toContain("Think first.");
    expect(text).toContain("\n$&3\n");
  });

  test("leaves quoted text that looks like a placeholder alone", () => {
    const quoted = { question: "{answer}", answer: "{question} \\boxed{}" };
    expect(fill("{question}|{answer}|{other}", quoted)).toBe(
      "{answer}|{question} \\boxed{}|{other}",
    );
  });

  test("an answer is quoted from the first box", () => {
    expect(naturalLanguage.answer("\\boxed{1} or \\boxed{2}")).toBe("1");
    expect(naturalLanguage.answer("no box")).toBeNull();
  });
});
