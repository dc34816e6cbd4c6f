import { describe, expect, test } from "vitest";
import type { Task } from "../../src/contract/index.js";
import { systems } from "../../src/systems/index.js";
import { train } from "../../src/train.js";
import { shortTask, small } from "./runs.js";

const [question] = shortTask.train;

describe("a task that is not what its type says is refused before any work", () => {
  test.each<[string, object, RegExp]>([
    [
      "a reward",
      { rewards: { correct: 3 } },
      /a function for reward "correct" of task "arith.*received 3/,
    ],
    ["no question", { train: [question, null] }, /a text for id of question 1 in train of task/],
    ["an id", { train: [{ ...question, id: 3 }] }, /a text for id of question 0 in train/],
    [
      "messages",
      { evaluation: [{ ...question, messages: "1=" }] },
      /for messages of .* in evaluation/,
    ],
    [
      "a message",
      { train: [{ ...question, messages: [{ role: "user" }] }] },
      /for messages of question 0/,
    ],
    [
      "columns",
      { evaluations: { "eval/x": [{ ...question, columns: null }] } },
      /for columns of .* in eval\/x/,
    ],
  ])("%s", async (_, change, message) => {
    let begun = false;
    const onWarmStart = () => {
      begun = true;
    };
    const task = { ...shortTask, ...change } as unknown as Task;
    await expect(train({ ...small, task, onWarmStart })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message,
    });
    expect(begun).toBe(false);
  });

  test("a system without phases", async () => {
    const system = { ...systems.grpo!, phases: [] };
    await expect(train({ ...small, system })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(/at least one phase for system\.phases/),
    });
  });
});
