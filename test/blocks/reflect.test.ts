import { describe, expect, test } from "vitest";
import { nextCall, type ReflectInfo, reflect } from "../../src/blocks/index.js";
import type { InferenceContext, Prompt, Question, SamplePlan } from "../../src/contract/index.js";
import { compactForms, questionOf } from "../../src/tasks/arithmetic/questions.js";
import { rolloutOf } from "./trajectories.js";

const tokenize = (question: Question): Prompt => ({ ...question, tokens: Int32Array.of(1) });

/** A model that gives these completions to these prompts, and counts its batches. */
function scripted(completions: Readonly<Record<string, string>>) {
  const plans: SamplePlan[] = [];
  const ctx: InferenceContext = {
    forms: compactForms,
    tokenize,
    async sample(plan) {
      plans.push(plan);
      return plan.prompts.map((prompt) => {
        const text = completions[prompt.messages[0]!.content];
        if (text === undefined) throw new Error(`asked ${prompt.messages[0]!.content}`);
        return { ...rolloutOf(null, { prompt }), text };
      });
    },
  };
  return { ctx, plans };
}

async function solved(rounds: number, completions: Readonly<Record<string, string>>) {
  const { ctx, plans } = scripted(completions);
  const prompts = [[0, 1, 2, 3]].map((summands) => tokenize(questionOf(summands)));
  const [answer] = await reflect({ rounds }).run(prompts, ctx);
  expect(plans.every(({ greedy, counts }) => greedy === true && counts === 1)).toBe(true);
  const info = answer!.info as unknown as ReflectInfo;
  return { ...info, kinds: info.trace.map(({ kind }) => kind) };
}

const asked = "0123=";

describe("judging and reflection at test time", () => {
  test("an accepted answer takes two calls", async () => {
    const info = await solved(2, { [asked]: "132", [`?2:${asked}`]: "132y" });
    expect(info).toMatchObject({ answer: "2", accepted: true, rounds: 1, calls: 2 });
  });

  test("an accepted revision takes four", async () => {
    const info = await solved(2, {
      [asked]: "131",
      [`?1:${asked}`]: "132n",
      [`!1:${asked}`]: "132",
      [`?2:${asked}`]: "132y",
    });
    expect(info).toMatchObject({ answer: "2", accepted: true, rounds: 2, calls: 4 });
    expect(info.kinds).toEqual(["answer", "pointwise", "reflectAnswer", "pointwise"]);
    expect(info.trace[2]).toEqual({
      kind: "reflectAnswer",
      prompt: `!1:${asked}`,
      completion: "132",
    });
  });

  test("the last revision stands unjudged, after five; what is no clear yes is a no", async () => {
    const info = await solved(2, {
      [asked]: "131",
      [`?1:${asked}`]: "yy1",
      [`!1:${asked}`]: "130",
      [`?0:${asked}`]: "132n",
      [`!0:${asked}`]: "133",
    });
    expect(info).toMatchObject({ answer: "3", accepted: false, rounds: 2, calls: 5 });
  });

  test("an answer that cannot be extracted is revised by its trace, without a judge", async () => {
    const info = await solved(1, { [asked]: "13?", [`!13?:${asked}`]: "132" });
    expect(info).toMatchObject({ answer: "2", accepted: false, rounds: 1, calls: 2 });
    expect(info.kinds).toEqual(["answer", "reflectTrace"]);
  });

  test("without rounds the first answer stands", async () => {
    const info = await solved(0, { [asked]: "132" });
    expect(info).toMatchObject({ answer: "2", accepted: false, rounds: 0, calls: 1 });
  });

  test("prompts go together, each at its own pace", async () => {
    const { ctx, plans } = scripted({
      [asked]: "132",
      "1111=": "230",
      "2222=": "023",
      [`?2:${asked}`]: "132y",
      "?0:1111=": "230n",
      "?3:2222=": "020n",
      "!0:1111=": "231",
      "!3:2222=": "020",
    });
    const questions = [
      [0, 1, 2, 3],
      [1, 1, 1, 1],
      [2, 2, 2, 2],
    ].map(questionOf);
    const out = await reflect({ rounds: 1 }).run(questions.map(tokenize), ctx);
    const infos = out.map(({ info }) => info as unknown as ReflectInfo);
    expect(infos.map(({ answer, calls }) => [answer, calls])).toEqual([
      ["2", 2],
      ["1", 3],
      ["0", 3],
    ]);
    expect(plans.map(({ prompts }) => prompts.length)).toEqual([3, 3, 2]);
  });

  test("what comes next follows from answers, verdicts and rounds alone", () => {
    expect(nextCall(1, [], 0)).toBe("done");
    expect(nextCall(1, [], 2)).toBe("judge");
    expect(nextCall(1, [false], 2)).toBe("reflect");
    expect(nextCall(2, [false], 2)).toBe("judge");
    expect(nextCall(2, [false, true], 2)).toBe("done");
    expect(nextCall(3, [false, false], 2)).toBe("done");
  });

  test("is refused with rounds that are no number of rounds", () => {
    expect(() => reflect({ rounds: -1 })).toThrow(/reflect\.rounds but received -1/);
  });
});
