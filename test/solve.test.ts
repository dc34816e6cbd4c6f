import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Engine, solve, TokenPolicy, tinyConfig, train } from "../src/index.js";
import { temporaryFolder } from "./folders.js";
import { small } from "./trainer/runs.js";

/** The weights of a run of no steps. */
async function policyFolder(): Promise<string> {
  const out = join(await temporaryFolder(), "run");
  await train({ ...small, steps: 0, out });
  return join(out, "checkpoint-0", "policy");
}

describe("solve", () => {
  test("answers each prompt greedily, in order, the same again", async () => {
    const policy = await policyFolder();
    const prompts = ["0123=", "3210=", "0123="];
    const plain = await solve({ policy, prompts, device: "cpu" });
    expect(plain.map(({ id, question, calls }) => [id, question, calls])).toEqual([
      ["1", "0123=", 1],
      ["2", "3210=", 1],
      ["3", "0123=", 1],
    ]);
    expect(plain[2]).toEqual({ ...plain[0], id: "3" });
    const reflected = await solve({ policy, prompts, device: "cpu", reflect: 2 });
    for (const [i, { trace, calls, accepted, rounds }] of reflected.entries()) {
      expect(trace[0]).toEqual(plain[i]!.trace[0]);
      expect(trace).toHaveLength(calls);
      expect(calls).toBeLessThanOrEqual(5);
      if (!accepted) expect(rounds).toBe(2);
    }
    expect(await solve({ policy, prompts, device: "cpu", reflect: 2 })).toEqual(reflected);
  });

  test("takes a policy of this process, and questions with an id", async () => {
    const folder = await policyFolder();
    const engine = new Engine({ device: "cpu" });
    const policy = await TokenPolicy.open(engine, folder);
    const content = "0123=";
    const messages = [{ role: "user" as const, content }];
    const prompts = [{ id: "mine", messages, label: null, columns: {} }];
    const [own] = await solve({ policy, prompts, reflect: 1 });
    const [other] = await solve({ policy: folder, engine, prompts: [content], reflect: 1 });
    expect(own).toEqual({ ...other, id: "mine" });
    policy.dispose();
    await engine.synchronize();
    expect(engine.memory().live).toBe(0);
    engine.dispose();
  });

  test("refuses what cannot be answered, before anything is sampled", async () => {
    const policy = await policyFolder();
    const prompts = ["0123="];
    const engine = new Engine({ device: "cpu" });
    const refusals: [object, RegExp][] = [
      [{ prompts: [] }, /at least one question for prompts/],
      [{ prompts: ["0123=", "9="] }, /prompt "2": Expected symbols among .* received "9" at 0/],
      [{ prompts: [""] }, /1 to 1023 tokens \(the policy's context\) in prompt "1" but received 0/],
      [{ prompts: ["0".repeat(1024)] }, /in prompt "1" but received 1024/],
      [{ reflect: -1 }, /reflect\.rounds but received -1/],
      [{ task: "arithmetics" }, /did you mean "arithmetic"/],
      [{ maxCompletionLength: 0 }, /maxCompletionLength but received 0/],
      [{ policy: 7 }, /a folder or a policy for policy/],
      [{ engine: {} }, /an engine for engine/],
      [{ engine, device: "cpu" }, /either engine or device and threads, not both/],
      [{ policy: {}, threads: 2 }, /the policy has its own engine\) for threads/],
      [{ promts: [] }, /did you mean "prompts"/],
    ];
    for (const [change, message] of refusals) {
      await expect(solve({ policy, prompts, ...change } as never)).rejects.toMatchObject({
        code: "ERR_OPTION",
        message: expect.stringMatching(message),
      });
    }
    await expect(solve({ policy: "/nowhere", prompts })).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
    });
    const mutilated = join(await temporaryFolder(), "policy");
    await cp(policy, mutilated, { recursive: true });
    await rm(join(mutilated, "tokenizer.json"));
    await expect(solve({ policy: mutilated, prompts })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(/Expected a policy with a tokenizer but .*policy has none/),
    });
    const mute = TokenPolicy.create(engine, tinyConfig(5));
    await expect(solve({ policy: mute, prompts })).rejects.toThrow(/the policy given has none/);
    mute.dispose();
    engine.dispose();
  });
});
