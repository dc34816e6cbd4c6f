import { describe, expect, test } from "vitest";
import {
  balanceVerdicts,
  type FinishedGroup,
  judgeItem,
  recycle,
  recycleStep,
  reflectionItem,
  subsample,
  takeBatch,
} from "../../src/blocks/index.js";
import type { Question } from "../../src/contract/index.js";
import { naturalLanguage } from "../../src/forms/index.js";
import { compactForms, questionOf } from "../../src/tasks/arithmetic/questions.js";
import { uniformAt } from "../../src/trainer/random.js";

const lists = { pointwiseTemplates: 24, pairwiseTemplates: 20 };
const many = Array.from({ length: 2000 }, (_, i) => i);

function played(...tape: number[]) {
  const uniform = () => {
    if (tape.length === 0) throw new Error("drawn too often");
    return tape.shift()!;
  };
  return { uniform, left: tape };
}

describe("the judge's question of a group", () => {
  test("all right: the first answer, and only the template is drawn", () => {
    const { uniform, left } = played(0);
    const item = judgeItem({ rewards: [1, 1, 1], answers: ["1", "2", "3"] }, lists, uniform);
    expect(item).toEqual({ kind: "pointwise", rollout: 0, right: true, template: 0 });
    expect(left).toEqual([]);
  });

  test("all wrong: any answer that could be extracted, each as often", () => {
    const uniform = uniformAt(1, "stage");
    const group = { rewards: [0, 0, 0, 0], answers: ["1", null, "3", "4"] };
    const counts = [0, 0, 0, 0];
    for (const _ of many) {
      const item = judgeItem(group, lists, uniform);
      expect(item).toMatchObject({ kind: "pointwise", right: false });
      if (item?.kind === "pointwise") ++counts[item.rollout]!;
    }
    expect(counts[1]).toBe(0);
    // 667 +- 21 each: five standard errors.
    for (const i of [0, 2, 3]) expect(Math.abs(counts[i]! - 2000 / 3)).toBeLessThan(105);
  });

  test("mixed: 30 % single with either verdict as often, else a pair in either order as often", () => {
    const uniform = uniformAt(2, "stage");
    const group = { rewards: [1, 0, 0, 0], answers: ["1", "2", "3", "4"] };
    let single = 0;
    let right = 0;
    let rightIsA = 0;
    for (const _ of many) {
      const item = judgeItem(group, lists, uniform)!;
      if (item.kind === "pointwise") {
        ++single;
        if (item.right) ++right;
        expect(item.right).toBe(item.rollout === 0);
      } else {
        expect(item.right).toBe(0);
        expect([1, 2, 3]).toContain(item.wrong);
        if (item.rightIsA) ++rightIsA;
      }
    }
    expect(Math.abs(single / 2000 - 0.3)).toBeLessThan(0.052);
    expect(Math.abs(right / single - 0.5)).toBeLessThan(0.11);
    expect(Math.abs(rightIsA / (2000 - single) - 0.5)).toBeLessThan(0.07);
  });

  test("is dropped where an answer to be quoted is missing, and where nobody answered", () => {
    expect(judgeItem({ rewards: [1, 1], answers: [null, "1"] }, lists, () => 0)).toBeNull();
    expect(judgeItem({ rewards: [0, 0], answers: [null, null] }, lists, () => 0)).toBeNull();
    expect(judgeItem({ rewards: [1, 0], answers: ["1", null] }, lists, () => 0.9)).toBeNull();
    expect(judgeItem({ rewards: [], answers: [] }, lists, () => 0)).toBeNull();
  });
});

test("a reflection quotes a trace in the first half of a batch, an answer in the second", () => {
  const group = { rewards: [1, 0, 0], answers: ["1", null, "3"] };
  const kinds = [0, 1, 2, 3, 4].map((k) => reflectionItem(group, k, 5, () => 0));
  expect(kinds.slice(0, 3)).toEqual(
    Array.from({ length: 3 }, () => ({ kind: "reflectTrace", rollout: 1 })),
  );
  expect(kinds.slice(3)).toEqual(
    Array.from({ length: 2 }, () => ({ kind: "reflectAnswer", rollout: 2 })),
  );
  expect(reflectionItem({ rewards: [1, 1], answers: ["1", "1"] }, 0, 2, () => 0)).toBeNull();
  expect(reflectionItem({ rewards: [0], answers: [null] }, 1, 2, () => 0)).toBeNull();
});

test("a subsample holds each item as often, in their order, and all where there are no more", () => {
  const uniform = uniformAt(3, "stage");
  const counts = [0, 0, 0, 0, 0];
  for (const _ of many) {
    const drawn = subsample([0, 1, 2, 3, 4], 2, uniform);
    expect(drawn).toHaveLength(2);
    expect(drawn[0]).toBeLessThan(drawn[1]!);
    for (const i of drawn) ++counts[i]!;
  }
  for (const count of counts) expect(Math.abs(count - 800)).toBeLessThan(110);
  const untouched = subsample([1, 2], 2, () => {
    throw new Error("drawn");
  });
  expect(untouched).toEqual([1, 2]);
});

test("balanced verdicts: as many right as wrong, pairs untouched", () => {
  const items = [true, true, null, false, true, null].map((right, id) => ({ id, right }));
  const kept = balanceVerdicts(items, () => 0);
  expect(kept.filter(({ right }) => right === true)).toHaveLength(1);
  expect(kept.filter(({ right }) => right === false)).toHaveLength(1);
  expect(kept.filter(({ right }) => right === null)).toHaveLength(2);
});

test("a batch is taken whole from the head of the queue, or not at all", () => {
  expect(takeBatch([1, 2, 3], 2)).toEqual({ batch: [1, 2], rest: [3] });
  expect(takeBatch([1, 2], 2)).toEqual({ batch: [1, 2], rest: [] });
  expect(takeBatch([1], 2)).toEqual({ batch: [], rest: [1] });
});

describe("a step's new prompts", () => {
  const summands = Array.from({ length: 40 }, (_, i) => [i % 4, (i >> 2) % 4, i >> 4, 1]);
  const label = (question: Question) => String(question.label);

  /** A group in which `wrong` of four rollouts fail. */
  function group(i: number, wrong: number): FinishedGroup {
    const question = questionOf(summands[i]!);
    const bad = String((Number(question.label) + 1) % 4);
    const answers = [0, 1, 2, 3].map((k) => (k < wrong ? bad : label(question)));
    return {
      question,
      answers,
      rewards: [0, 1, 2, 3].map((k) => (k < wrong ? 0 : 1)),
      traces: answers.map((answer) => `00${answer}`),
    };
  }
  const groups = summands.map((_, i) => group(i, i % 5));
  const options = { pSingle: 0.3, capJudge: 64, capReflect: 64, balanced: false };
  const made = (change: object, seed = 1) =>
    recycleStep(groups, compactForms, { ...options, ...change }, uniformAt(seed, "stage"));

  test("are labelled with the verdicts that the rollouts got, reflections with the question's own", () => {
    const byId = new Map(groups.map(({ question }) => [question.id, question]));
    const seen = new Set<string>();
    for (const { id, kind, label: verdict, messages } of made({})) {
      const origin = byId.get(id.slice(0, id.lastIndexOf("/")))!;
      const text = messages[0]!.content;
      const asked = origin.messages[0]!.content;
      seen.add(kind!);
      if (kind === "pointwise") {
        expect(text).toBe(`?${text[1]}:${asked}`);
        expect(verdict).toBe(text[1] === origin.label ? "y" : "n");
      } else if (kind === "pairwise") {
        expect(text).toBe(`${text[0]}|${text[2]}:${asked}`);
        expect(text[verdict === "A" ? 0 : 2]).toBe(origin.label);
        expect(text[verdict === "A" ? 2 : 0]).not.toBe(origin.label);
      } else {
        expect(verdict).toBe(origin.label);
        const attempt = text.slice(1, text.indexOf(":"));
        expect(attempt).toHaveLength(kind === "reflectTrace" ? 3 : 1);
        expect(attempt.at(-1)).not.toBe(origin.label);
      }
    }
    expect([...seen].sort()).toEqual(["pairwise", "pointwise", "reflectAnswer", "reflectTrace"]);
  });

  test("never exceed the caps, judge's questions first", () => {
    const questions = made({ capJudge: 7, capReflect: 5 });
    const reflects = questions.map(({ kind }) => kind!.startsWith("reflect"));
    expect(reflects).toEqual([...new Array(7).fill(false), ...new Array(5).fill(true)]);
    expect(made({ capJudge: 0, capReflect: 0 })).toEqual([]);
    expect(made({}).length).toBeLessThanOrEqual(80);
  });

  test.each([64, 9])("balanced: yes and no as often under a cap of %d", (capJudge) => {
    for (const seed of [1, 2, 3, 4]) {
      const judged = made({ balanced: true, capJudge }, seed).filter(
        ({ kind }) => kind === "pointwise",
      );
      const yes = judged.filter((question) => question.label === "y").length;
      expect(2 * yes).toBe(judged.length);
    }
  });

  test("depend on the draws alone", () => {
    expect(made({}, 5)).toEqual(made({}, 5));
    expect(made({}, 5)).not.toEqual(made({}, 6));
  });

  test("in English every template of a kind comes up", () => {
    const uniform = uniformAt(7, "stage");
    const heads = new Set<string>();
    for (let i = 0; i < 60; ++i) {
      for (const { kind, messages } of recycleStep(groups, naturalLanguage, options, uniform)) {
        heads.add(`${kind} ${messages[0]!.content.split("\n\n")[0]}`);
      }
    }
    expect(heads.size).toBe(104);
  });
});

describe("recycle is refused before the first rollout", () => {
  const facts = {
    numGenerations: 4,
    maxCompletionLength: 6,
    rewards: ["correct"],
    binaryRewards: true,
  };

  test("where the templates hold what the policy has no token for", () => {
    const reading = (symbols: string) => (text: string) =>
      [...text].every((symbol) => symbols.includes(symbol));
    const readable = { ...facts, forms: compactForms, reads: reading("0123=?:|!ynAB") };
    expect(recycle().inspect?.(readable)).toEqual([]);
    expect(() => recycle().inspect?.({ ...facts, reads: reading("0123=") })).toThrow(
      /that the policy can read for recycle but it has no token for "S"/,
    );
    const formsByTask = { sums: compactForms, other: null };
    expect(() => recycle().inspect?.({ ...readable, formsByTask })).toThrow(/no token for "S"/);
    expect(recycle().inspect?.({ ...facts, formsByTask })).toEqual([
      'Task "other" has no forms of its own: recycle asks in English',
    ]);
    expect(recycle().inspect?.(facts)).toEqual([]);
    expect(recycle().inspect?.({ ...facts, forms: null, reads: () => true })).toEqual([
      "The task has no forms of its own: recycle asks in English",
    ]);
    expect(recycle({ templates: "english" }).inspect?.({ ...facts, binaryRewards: false })).toEqual(
      ["recycle takes answers with a reward above 0.5 as right"],
    );
  });

  test("with options that make no sense", () => {
    expect(() => recycle({ pSingle: 2 })).toThrow(/recycle\.pSingle but received 2/);
    expect(() => recycle({ capJudges: 3 } as never)).toThrow(/did you mean "capJudge"/);
  });
});
