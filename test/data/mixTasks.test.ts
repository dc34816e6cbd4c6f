import { describe, expect, test } from "vitest";
import type { PhaseReport } from "../../src/contract/index.js";
import { mixTasks, tasks, train } from "../../src/index.js";
import { columns, fileOf, jsonl, resumesExactly, short, sums } from "./files.js";

describe("mixed tasks", () => {
  const second = { ...tasks.arithmetic!, id: "second", train: tasks.arithmetic!.train.slice(0, 5) };
  const mix = mixTasks([
    {
      task: { ...tasks.arithmetic!, evaluation: tasks.arithmetic!.evaluation.slice(0, 4) },
      weight: 3,
    },
    { task: { ...second, evaluation: second.evaluation.slice(4, 8) } },
  ]);

  test("draw their prompts by weight, each in epochs of its own", async () => {
    const drawn: string[] = [];
    const phase = ({ groups }: PhaseReport) =>
      void drawn.push(...groups.map(({ prompt }) => prompt.id));
    const options = { ...short, task: mix, warmStart: false, numGenerations: 1, evalSteps: null };
    await train({ ...options, promptsPerStep: 80, steps: 5, callbacks: [{ phase }] });
    const ofSecond = drawn.filter((id) => id.startsWith("second/"));
    // 400 draws with probability 1/4: four standard deviations are 35.
    expect(Math.abs(ofSecond.length - 100)).toBeLessThan(35);
    for (let i = 0; i + 5 <= ofSecond.length; i += 5) {
      expect(new Set(ofSecond.slice(i, i + 5)).size).toBe(5);
    }
    const first = drawn.filter((id) => id.startsWith("arithmetic/"));
    expect(new Set(first.slice(0, 192)).size).toBe(192);
    expect(
      drawn.slice(0, 20).some((id, i) => id.split("/")[0] !== drawn[i + 1]!.split("/")[0]),
    ).toBe(true);
  });

  test("go on bit by bit, and report the accuracy of each", async () => {
    await resumesExactly({ task: mix, warmStart: false });
    const { start } = await train({ ...short, task: mix, steps: 0, warmStart: false });
    expect(Object.keys(start)).toEqual(
      expect.arrayContaining(["eval/accuracy", "eval/arithmetic/accuracy", "eval/second/accuracy"]),
    );
  });

  test("from a config of files and ids, resumed by the checkpoint alone", async () => {
    const path = await fileOf("sums.jsonl", jsonl(sums));
    await resumesExactly({
      mix: [{ task: "arithmetic", weight: 2 }, { data: { path, columns, verifier: "numeric" } }],
      warmStart: false,
      evalSamples: 1,
    });
  });

  test("judge a prompt by its own task's rewards alone", async () => {
    const other = {
      ...second,
      rewards: {
        right: () => [0.25],
        style: ({ prompts }: { prompts: readonly unknown[] }) => prompts.map(() => 0.5),
      },
      accuracy: "right",
      train: second.train.slice(0, 1),
    };
    const both = mixTasks([{ task: tasks.arithmetic! }, { task: other }]);
    expect(both.accuracy).toBe("correct");
    const prompts = [both.train[0]!, both.train.at(-1)!, both.train[1]!].map((question) => ({
      ...question,
      tokens: new Int32Array(),
    }));
    const labels = prompts.map(({ label }) => String(label));
    const { signal } = new AbortController();
    const ctx = {
      prompts,
      completions: labels,
      trajectories: [],
      columns: { level: [1, 2, 3] },
      signal,
    };
    expect(await both.rewards.correct!(ctx)).toEqual([1, 0.25, 1]);
    expect(await both.rewards.style!(ctx)).toEqual([null, 0.5, null]);
    const stray = [{ ...prompts[0]!, task: undefined }];
    await expect(both.rewards.correct!({ ...ctx, prompts: stray })).rejects.toMatchObject({
      code: "ERR_REWARD",
    });
  });

  test("mix their warm starts, and stay within the alphabet of all", () => {
    const letters = { ...second, alphabet: "0123xyz", warmStart: second.warmStart.slice(0, 1) };
    const both = mixTasks([{ task: tasks.arithmetic! }, { task: letters }]);
    expect([...both.alphabet!].sort().join("")).toBe([..."0123=?:|!ynABxz"].sort().join(""));
    expect(both.warmStart.map(({ steps }) => steps)).toEqual(
      tasks.arithmetic!.warmStart.map(({ steps }, i) => (i === 0 ? 2 * steps : steps)),
    );
    let draws = 0;
    const uniform = () => (draws++ % 97) / 97;
    const owners = Array.from({ length: 60 }, () => both.warmStart[0]!.draw(uniform).question.task);
    expect(new Set(owners)).toEqual(new Set(["arithmetic", "second"]));
  });

  test.each<[string, () => unknown, RegExp]>([
    ["no tasks", () => mixTasks([]), /tasks to mix but there are none/],
    [
      "one task twice",
      () => mixTasks([{ task: second }, { task: second }]),
      /"second" comes twice/,
    ],
    [
      "other actions",
      () => mixTasks([{ task: second }, { task: { ...second, id: "f", kind: "flow" } }]),
      /"f" is over flow/,
    ],
    [
      "a weight of 0",
      () => mixTasks([{ task: second, weight: 0 }]),
      /the weight of task "second" but received 0/,
    ],
    ["a mixture", () => mixTasks([{ task: mix }]), /is a mixture/],
    [
      "a reward with the name of the accuracy",
      () =>
        mixTasks([
          { task: second },
          {
            task: {
              ...second,
              id: "b",
              rewards: { correct: () => [], right: () => [] },
              accuracy: "right",
            },
          },
        ]),
      /another name for the reward "correct" of task "b"/,
    ],
  ])("refuse %s", (_, make, message) => {
    expect(make).toThrow(message);
  });

  test.each<[string, object, RegExp]>([
    [
      "an unknown id",
      { task: "arithmetic:2,arithmetik" },
      /received "arithmetik" \(did you mean "arithmetic"\?\)/,
    ],
    ["a weight that is none", { task: "arithmetic:x" }, /ids with weights as in a:2,b:1 for task/],
    ["parts that are none", { mix: [{ weight: 2 }] }, /either task or data for mix\[0\]/],
    [
      "an unknown key of a part",
      { mix: [{ taks: "arithmetic" }] },
      /received "taks" \(did you mean "task"\?\)/,
    ],
  ])("are refused with %s", async (_, options, message) => {
    await expect(train({ ...short, ...options })).rejects.toThrow(message);
  });
});
