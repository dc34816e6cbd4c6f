import { describe, expect, test } from "vitest";
import { groupNormalize, rollout, surrogate } from "../../src/blocks/index.js";
import type { Source } from "../../src/contract/index.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { type TrainOptions, train } from "../../src/train.js";
import { rateShare } from "../../src/trainer/learningRate.js";
import { small } from "./runs.js";

describe("the rate's course is that of transformers' schedulers", () => {
  const updates = 20;
  const warm = 5;
  const course = (type: "constant" | "linear" | "cosine", minRatio = 0) =>
    Array.from({ length: updates }, (_, k) =>
      rateShare({ type, minRatio, warmup: warm, length: updates }, k),
    );

  // get_*_schedule_with_warmup(optimizer, 5, 20), lr_lambda of update k.
  test.each([
    ["constant", (k: number) => Math.min(1, k / warm)],
    ["linear", (k: number) => (k < warm ? k / warm : (updates - k) / (updates - warm))],
    [
      "cosine",
      (k: number) =>
        k < warm ? k / warm : 0.5 * (1 + Math.cos((Math.PI * (k - warm)) / (updates - warm))),
    ],
  ] as const)("%s", (type, lambda) => {
    const shares = course(type);
    for (let k = 0; k < updates; ++k) expect(shares[k]).toBeCloseTo(lambda(k), 12);
  });

  test("a minimum is where it ends, after the last update", () => {
    for (const type of ["linear", "cosine"] as const) {
      const at = (done: number) => rateShare({ type, minRatio: 0.1, warmup: 0, length: 1 }, done);
      expect(at(0)).toBe(1);
      expect(at(0.5)).toBeCloseTo(0.55, 12);
      expect(at(1)).toBeCloseTo(0.1, 12);
    }
  });

  test("beyond the end a line stays and a cosine climbs again", () => {
    const beyond = (type: "linear" | "cosine") =>
      rateShare({ type, minRatio: 0, warmup: 0, length: 1 }, 2);
    expect(beyond("linear")).toBe(0);
    expect(beyond("cosine")).toBeCloseTo(1, 12);
  });
});

async function ratesOf(options: TrainOptions): Promise<(number | null | undefined)[]> {
  const rates: (number | null | undefined)[] = [];
  const onStep: TrainOptions["onStep"] = ({ step, metrics }) => {
    if (step === 0) return;
    const second = metrics["second/learning_rate"];
    rates.push(metrics.learning_rate, ...(second === undefined ? [] : [second]));
  };
  await train({ ...small, warmStart: false, evalSteps: null, learningRate: 1, ...options, onStep });
  return rates;
}

/** Two phases of two updates each; the second has prompts in every step but those named. */
function twoPhases(without: readonly number[] = []) {
  const source: Source = {
    block: "sometimes",
    options: [],
    run: (_, ctx) => (without.includes(ctx.step) ? [] : ctx.prompts(4)),
  };
  const phase = { rollout: rollout(), advantage: groupNormalize(), loss: [surrogate()] };
  return defineSystem({
    ...{ id: "two", title: "Two phases", arxiv: null, evidence: "low" },
    phases: [
      { name: "first", ...phase },
      { name: "second", ...phase, source },
    ],
  });
}

const close = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 12));

describe("a run", () => {
  test("reports the rate it used: the mean of its updates' in each step", async () => {
    // Four steps of two updates: k / 8.
    expect(await ratesOf({ lrSchedulerType: "linear" })).toEqual(
      close([7.5 / 8, 5.5 / 8, 3.5 / 8, 1.5 / 8]),
    );
    expect(await ratesOf({ warmupSteps: 2 })).toEqual(close([1 / 8, 5 / 8, 1, 1]));
    expect(await ratesOf({ warmupRatio: 0.5 })).toEqual(close([1 / 8, 5 / 8, 1, 1]));
  });

  test("ends its course with its last step, also where phases are left out", async () => {
    const options: TrainOptions = { lrSchedulerType: "linear", steps: 2 };
    // Eighths of the run: two updates a phase, two phases a step.
    expect(await ratesOf({ ...options, system: twoPhases() })).toEqual(
      close([7.5 / 8, 5.5 / 8, 3.5 / 8, 1.5 / 8]),
    );
    expect(await ratesOf({ ...options, system: twoPhases([1]) })).toEqual(
      close([7.5 / 8, 3.5 / 8, 1.5 / 8]),
    );
  });

  test('"policy-updates" drifts as the SPARK script does: over at half time, then back up', async () => {
    const rates = await ratesOf({
      system: twoPhases(),
      steps: 2,
      lrSchedulerType: "cosine",
      lrSchedulerLength: "policy-updates",
    });
    // N = 4 updates of the first phase, k counts all 8.
    const share = (k: number) => 0.5 * (1 + Math.cos((Math.PI * k) / 4));
    const means = [0, 2, 4, 6].map((k) => (share(k) + share(k + 1)) / 2);
    expect(rates).toEqual(close(means));
    expect(rates[3]!).toBeGreaterThan(rates[2]!);
  });
});

describe("what has no meaning is refused", () => {
  test.each<[TrainOptions, RegExp]>([
    [{ lrMinRatio: 0.1 }, /nothing \(lrSchedulerType is "constant"\) for train\.lrMinRatio/],
    [
      { lrSchedulerLength: "policy-updates" },
      /nothing \(the learning rate is constant\) for train\.lrSchedulerLength/,
    ],
    [
      { warmupRatio: 0.1, warmupSteps: 2 },
      /nothing \(warmupRatio is given\) for train\.warmupSteps but received 2/,
    ],
    [{ lrSchedulerType: "cosin" as never }, /lrSchedulerType .*did you mean "cosine"\?/],
    [{ learningRate: { from: 1 } as never }, /a number >= 0 for train\.learningRate/],
  ])("%j", async (options, message) => {
    await expect(train({ ...small, ...options })).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: expect.stringMatching(message),
    });
  });
});
