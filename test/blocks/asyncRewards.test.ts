import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import {
  callReward,
  type GuardOptions,
  guarded,
  rewardContext,
  type WorkerReward,
  type WorkerRewardOptions,
  workerReward,
} from "../../src/blocks/index.js";
import type { Measure, RewardContext, RewardFunction } from "../../src/contract/index.js";
import { train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small } from "../trainer/runs.js";
import { rolloutOf } from "./trajectories.js";

function contextOf(texts: readonly string[], signal = new AbortController().signal) {
  const measured: [string, Measure][] = [];
  const rows = texts.map((text) => ({ ...rolloutOf(null), text }));
  const ctx = rewardContext(rows, signal, (name, measure) => measured.push([name, measure]));
  return { ctx, measured };
}

const lengths: RewardFunction = ({ completions }) => completions.map((text) => text.length);
const never = () => new Promise<never>(() => {});

describe("a guarded reward", () => {
  test("gives what the reward gives, at once or one by one", async () => {
    const { ctx } = contextOf(["a", "bb", "ccc"]);
    expect(await guarded(lengths)(ctx)).toEqual([1, 2, 3]);
    expect(await guarded(lengths, { batch: "each" })(ctx)).toEqual([1, 2, 3]);
    expect(await guarded(lengths, { batch: "each" })(contextOf([]).ctx)).toEqual([]);
  });

  test("makes no more calls at once than it may, over all batches", async () => {
    let running = 0;
    let most = 0;
    const slow: RewardFunction = async ({ completions }) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 2));
      running -= 1;
      return completions.map((text) => text.length);
    };
    const reward = guarded(slow, { batch: "each", concurrency: 3 });
    const batches = [0, 1].map((i) => reward(contextOf(Array(8).fill("x".repeat(i))).ctx));
    expect(await Promise.all(batches)).toEqual([Array(8).fill(0), Array(8).fill(1)]);
    expect(most).toBe(3);
  });

  test("tries again what failed, alone", async () => {
    const tries: Record<string, number> = {};
    const flaky: RewardFunction = ({ completions: [text] }) => {
      tries[text!] = (tries[text!] ?? 0) + 1;
      if (text === "b" && tries.b! < 3) throw new TypeError("not now");
      return text === "c" && tries.c! < 2 ? [Number.NaN] : [1];
    };
    const reward = guarded(flaky, { batch: "each", retries: 2, retryDelaySeconds: 0.001 });
    expect(await reward(contextOf(["a", "b", "c"]).ctx)).toEqual([1, 1, 1]);
    expect(tries).toEqual({ a: 1, b: 3, c: 2 });
  });

  test.each<[string, RewardFunction, GuardOptions, RegExp]>([
    [
      "throws",
      () => {
        throw new Error("no judge");
      },
      { batch: "each", retries: 1, retryDelaySeconds: 0 },
      /^The reward "mine" threw: completion 0 \("a"\), 2 attempts: no judge$/,
    ],
    [
      "hangs",
      never,
      { timeoutSeconds: 0.01 },
      /^The reward "mine" threw: completions 0 to 1: no answer within 0\.01 s$/,
    ],
    [
      "gives NaN",
      ({ completions }) => completions.map((_, i) => (i === 1 ? Number.NaN : 1)),
      {},
      /completions 0 to 1: expected a finite number or null for completion 1 but received NaN/,
    ],
    ["gives too few", () => [1], {}, /expected 2 values but received an array of 1/],
    ["gives nothing", () => undefined as never, {}, /expected 2 values but received undefined/],
  ])("that %s is named with its completion", async (_, reward, options, message) => {
    const { ctx } = contextOf(["a", "b"]);
    await expect(callReward("mine", guarded(reward, options), ctx)).rejects.toMatchObject({
      code: "ERR_REWARD",
      message: expect.stringMatching(message),
    });
  });

  test("leaves out and counts what failed where it may", async () => {
    const { ctx, measured } = contextOf(["a", "late", "c", "d"]);
    const reward: RewardFunction = ({ completions: [text] }) => (text === "late" ? never() : [1]);
    const options = { batch: "each", timeoutSeconds: 0.02, onFailure: "null" } as const;
    expect(await callReward("mine", guarded(reward, options), ctx)).toEqual([1, null, 1, 1]);
    expect(measured).toEqual([["rewards/mine/failed_ratio", { kind: "mean", sum: 1, count: 4 }]]);
  });

  test("drops an answer that comes late, and tells the call that its time is over", async () => {
    let answer = (_: number[]) => {};
    const signals: AbortSignal[] = [];
    const late: RewardFunction = ({ signal }) => {
      signals.push(signal);
      if (signals.length > 1) return [2];
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
    const reward = guarded(late, { timeoutSeconds: 0.01, retries: 1, retryDelaySeconds: 0 });
    const values = reward(contextOf(["a"]).ctx);
    expect(await values).toEqual([2]);
    answer([1]);
    expect(await values).toEqual([2]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });

  test("ends with the run, whatever is still on its way", async () => {
    const stop = new AbortController();
    const { ctx } = contextOf(["a", "b", "c"], stop.signal);
    let calls = 0;
    const reward: RewardFunction = () => {
      calls += 1;
      return never();
    };
    const options = { batch: "each", concurrency: 2, retries: 3, onFailure: "null" } as const;
    const values = callReward("mine", guarded(reward, options), ctx);
    setTimeout(() => stop.abort(), 5);
    await expect(values).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(calls).toBe(2);
  });

  test("does not begin what waits behind a failure", async () => {
    let calls = 0;
    const reward: RewardFunction = async () => {
      calls += 1;
      throw new Error("down");
    };
    const all = guarded(reward, { batch: "each", concurrency: 1 })(contextOf(["a", "b", "c"]).ctx);
    await expect(all).rejects.toThrow("completion 0");
    expect(calls).toBe(1);
  });

  test.each<[string, object, RegExp]>([
    ["an unknown option", { timeout: 3 }, /received "timeout"/],
    ["a time of 0", { timeoutSeconds: 0 }, /> 0 .*for guarded\.timeoutSeconds but received 0/],
    [
      "calls at once of one call",
      { concurrency: 2 },
      /nothing \(it limits the calls of batch "each"\)/,
    ],
    ["a delay without retries", { retryDelaySeconds: 2 }, /nothing \(there are no retries\)/],
  ])("refuses %s", (_, options, message) => {
    expect(() => guarded(lengths, options as GuardOptions)).toThrow(message);
  });

  test("in a run: failures are a metric, and leave the statistics", async () => {
    const out = join(await temporaryFolder(), "run");
    const correct: RewardFunction = ({ prompts }) => {
      if (prompts[0]!.id.endsWith("1")) throw new Error("no judge");
      return [1];
    };
    const task = {
      ...shortTask,
      rewards: { correct: guarded(correct, { batch: "each", onFailure: "null" }) },
    };
    await train({ ...small, task, out, steps: 2, promptsPerStep: 8, evalSteps: null });
    const [, first] = await metricsOf(out);
    expect(first!["rewards/correct/failed_ratio"]).toBeGreaterThan(0);
    expect(first!["rewards/correct/failed_ratio"]).toBeLessThan(1);
    expect(first!.reward).toBe(1);
  });
});

describe("a reward in worker threads", () => {
  const open: WorkerReward[] = [];
  afterEach(async () => {
    for (const reward of open.splice(0)) await reward.dispose();
  });

  async function worker(code: string, options?: WorkerRewardOptions): Promise<WorkerReward> {
    const path = join(await temporaryFolder(), "reward.mjs");
    await writeFile(path, code);
    const reward = workerReward(pathToFileURL(path), options);
    open.push(reward);
    return reward;
  }

  const thread = `
    import { threadId } from "node:worker_threads";
    export default ({ completions }) => {
      if (completions[0] === "throw") throw new Error("no tests");
      if (completions[0] === "hang") for (;;);
      if (completions[0] === "exit") process.exit(3);
      return completions.map((text) => (text === "id" ? threadId : text.length));
    };
    export const labels = ({ prompts, columns, trajectories }) =>
      prompts.map((prompt, i) => prompt.id.length + columns.level[i] + trajectories[i].mask.length);
    export const nothing = 7;
  `;

  const threadOf = async (reward: RewardFunction) => (await reward(contextOf(["id"]).ctx))[0];

  test("gives what the module gives, from one thread that is kept", async () => {
    const reward = await worker(thread);
    expect(await reward(contextOf(["a", "bb"]).ctx)).toEqual([1, 2]);
    const kept = await threadOf(reward);
    expect(await threadOf(reward)).toBe(kept);
    const named = await worker(thread, { export: "labels" });
    const row = rolloutOf(null);
    const prompt = { ...row.prompt, id: "four", columns: { level: 10 } };
    const { ctx } = contextOf([]);
    const some: RewardContext = { ...ctx, ...rewardContext([{ ...row, prompt }], ctx.signal) };
    expect(await named(some)).toEqual([16]);
  });

  test("a thread that hangs is ended and replaced; the others go on", async () => {
    const reward = await worker(thread, { workers: 2, timeoutSeconds: 1 });
    const before = await threadOf(reward);
    const hung = callReward("tests", reward, contextOf(["hang"]).ctx);
    const other = await threadOf(reward);
    expect(other).not.toBe(before);
    await expect(hung).rejects.toMatchObject({
      code: "ERR_REWARD",
      message: 'The reward "tests" threw: no answer within 1 s; its thread was ended',
    });
    const after = [await threadOf(reward), await threadOf(reward)];
    expect(after).not.toContain(before);
  });

  test("a thread that dies, throws, or has no such export is an error of that call alone", async () => {
    const reward = await worker(thread);
    await expect(reward(contextOf(["exit"]).ctx)).rejects.toThrow("its thread ended");
    await expect(reward(contextOf(["throw"]).ctx)).rejects.toThrow("no tests");
    expect(await reward(contextOf(["abc"]).ctx)).toEqual([3]);
    for (const name of ["nothing", "missing"]) {
      const wrong = await worker(thread, { export: name });
      await expect(wrong(contextOf(["a"]).ctx)).rejects.toThrow(
        `Expected a function as export "${name}" of file://`,
      );
    }
    const lost = workerReward("/nowhere/reward.mjs");
    open.push(lost);
    await expect(lost(contextOf(["a"]).ctx)).rejects.toThrow(/Cannot find module/);
    const { ctx } = contextOf(["a"]);
    await expect(reward({ ...ctx, columns: { fn: [() => {}] } })).rejects.toThrow(/clone/);
    expect(await reward(ctx)).toEqual([1]);
  });

  test("heeds the run's signal, and a guard's time limit", async () => {
    const reward = await worker(thread, { timeoutSeconds: null });
    const stop = new AbortController();
    const hung = callReward("tests", reward, contextOf(["hang"], stop.signal).ctx);
    setTimeout(() => stop.abort(), 50);
    await expect(hung).rejects.toMatchObject({ code: "ERR_ABORTED" });
    const { ctx, measured } = contextOf(["a", "hang", "ccc"]);
    const options = {
      batch: "each",
      concurrency: 1,
      timeoutSeconds: 1,
      onFailure: "null",
    } as const;
    expect(await callReward("tests", guarded(reward, options), ctx)).toEqual([1, null, 3]);
    expect(measured[0]![1]).toEqual({ kind: "mean", sum: 1, count: 3 });
  });

  test("holds no process open when idle, and starts anew after it was disposed of", async () => {
    const held = () =>
      process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name)).length;
    const before = held();
    const reward = await worker(thread);
    const pending = reward(contextOf(["a"]).ctx);
    await new Promise((resolve) => setImmediate(resolve));
    expect(held()).toBeGreaterThan(before);
    await pending;
    expect(held()).toBe(before);
    await reward.dispose();
    expect(await reward(contextOf(["ab"]).ctx)).toEqual([2]);
  });

  test.each<[string, unknown, object, RegExp]>([
    ["no module", "", {}, /a URL or a path for module/],
    ["no threads", "x.mjs", { workers: 0 }, />= 1 .*for workerReward\.workers but received 0/],
    [
      "an unknown option",
      "x.mjs",
      { exports: "a" },
      /received "exports" \(did you mean "export"\?\)/,
    ],
  ])("refuses %s", (_, module, options, message) => {
    expect(() => workerReward(module as string, options)).toThrow(message);
  });
});
