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
      /a function for task\.rewards\.correct but received 3/,
    ],
    [
      "no question",
      { train: [question, null] },
      /an object for task\.train\[1\] but received null/,
    ],
    [
      "an id",
      { train: [{ ...question, id: 3 }] },
      /not empty for task\.train\[0\]\.id but received 3/,
    ],
    [
      "no id",
      { train: [{ ...question, id: "" }] },
      /not empty for task\.train\[0\]\.id but received ""/,
    ],
    [
      "messages",
      { evaluation: [{ ...question, messages: "1=" }] },
      /an array for task\.evaluation\[0\]\.messages/,
    ],
    [
      "a message",
      { train: [{ ...question, messages: [{ role: "user" }] }] },
      /a text for task\.train\[0\]\.messages\[0\]\.content/,
    ],
    [
      "columns",
      { evaluations: { "eval/x": [{ ...question, columns: null }] } },
      /an object for task\.evaluations\.eval\/x\[0\]\.columns/,
    ],
  ])("%s", async (_, change, message) => {
    let begun = false;
    const onWarmStart = () => {
      begun = true;
    };
    const task = { ...shortTask, ...change } as unknown as Task;
    await expect(train({ ...small, task, onWarmStart })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
    expect(begun).toBe(false);
  });

  test("a system without phases", async () => {
    const system = { ...systems.grpo!, phases: [] };
    await expect(train({ ...small, system })).rejects.toThrow(
      /at least one phase for system\.phases/,
    );
  });
});
