import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { RunCallback } from "../../src/contract/index.js";
import { train } from "../../src/train.js";
import { readCheckpoint } from "../../src/trainer/checkpoint.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, shortTask, small, weightsOf } from "./runs.js";

/** Writes down what it is told. */
function listener(log: string[], name = ""): RunCallback {
  const told = (event: string) => () => void log.push(`${name}${event}`);
  return {
    begin: told("begin"),
    warmStart: told("warmStart"),
    phase: ({ step }) => void log.push(`${name}phase ${step}`),
    step: ({ step }) => void log.push(`${name}step ${step}`),
    checkpoint: ({ step }) => void log.push(`${name}checkpoint ${step}`),
    end: ({ step, error }) =>
      void log.push(`${name}end ${step}${error === null ? "" : ` (${(error as Error).message})`}`),
  };
}

describe("callbacks", () => {
  test("are told of everything in the order in which it happens, one after the other", async () => {
    const out = join(await temporaryFolder(), "run");
    const log: string[] = [];
    await train({ ...small, steps: 2, out, callbacks: [listener(log), listener(log, "2nd ")] });
    const own = log.filter((line) => !line.startsWith("2nd "));
    expect(own).toEqual([
      "begin",
      "warmStart",
      "step 0",
      "checkpoint 0",
      ...["phase 1", "step 1", "checkpoint 1"],
      ...["phase 2", "step 2", "checkpoint 2"],
      "end 2",
    ]);
    expect(log).toEqual(own.flatMap((line) => [line, `2nd ${line}`]));
  });

  test("are waited for", async () => {
    const log: string[] = [];
    const slow: RunCallback = {
      async step({ step }) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        log.push(`slow ${step}`);
      },
    };
    await train({ ...small, warmStart: false, steps: 1, callbacks: [slow, listener(log)] });
    expect(log).toEqual(["begin", "slow 0", "step 0", "phase 1", "slow 1", "step 1", "end 1"]);
  });

  test('"stop" ends the run after the checkpoint of that step; it can go on', async () => {
    const [out, whole] = [await temporaryFolder(), await temporaryFolder()].map((f) =>
      join(f, "run"),
    );
    await train({ ...small, out: whole! });
    const log: string[] = [];
    const stop: RunCallback = { step: ({ step }) => (step === 3 ? "stop" : undefined) };
    const result = await train({
      ...small,
      saveSteps: 4,
      out: out!,
      callbacks: [stop, listener(log)],
    });
    expect(result).toMatchObject({ steps: 3, stopped: true, stoppedBy: "callback" });
    expect(log.slice(-3)).toEqual(["step 3", "checkpoint 3", "end 3"]);
    await train({ resume: out!, task: shortTask });
    expect(weightsOf(out!, 4)).toEqual(weightsOf(whole!, 4));
    expect(await metricsOf(out!)).toEqual(await metricsOf(whole!));
  });

  test('"stop" after the first evaluation trains nothing', async () => {
    const stop: RunCallback = { step: () => "stop" };
    const result = await train({ ...small, callbacks: [stop] });
    expect(result).toMatchObject({ steps: 0, stoppedBy: "callback" });
  });

  const failing = (event: keyof RunCallback, at: number): RunCallback => ({
    [event]: ({ step = 0 }: { step?: number }) => {
      if (step === at) throw new Error(`${event} failed`);
    },
  });

  test.each([
    ["begin", 0, null],
    ["warmStart", 8, null],
    ["phase", 2, 1],
    ["step", 2, 1],
    ["checkpoint", 2, 2],
    ["end", 4, 4],
  ] as const)(
    "that throw in %s fail the run and leave its last checkpoint",
    async (event, at, kept) => {
      const out = join(await temporaryFolder(), "run");
      const log: string[] = [];
      const callbacks = [failing(event, at), listener(log)];
      await expect(train({ ...small, out, callbacks })).rejects.toThrow(`${event} failed`);
      const step = Number(/end (\d+)/.exec(log.at(-1)!)![1]);
      const message = event === "end" ? "" : ` (${event} failed)`;
      expect(log.filter((line) => line.startsWith("end"))).toEqual([`end ${step}${message}`]);
      if (kept === null) {
        expect((await readdir(out)).filter((name) => name.startsWith("checkpoint"))).toEqual([]);
      } else {
        const { body } = await readCheckpoint<{ progress: { step: number } }>(out);
        expect(body.progress.step).toBe(kept);
      }
    },
  );

  test("that throw at the end of a failed run do not hide what it failed of", async () => {
    const log: string[] = [];
    const warnings: string[] = [];
    const callbacks = [failing("phase", 1), failing("end", 0), listener(log)];
    const run = train({ ...small, callbacks, onWarning: (warning) => warnings.push(warning) });
    await expect(run).rejects.toThrow("phase failed");
    expect(warnings).toEqual(["a callback failed at the end of the run: Error: end failed"]);
    expect(log.at(-1)).toBe("end 0 (phase failed)");
  });
});
