import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { Capability, Metrics, SampleRequest, Sampler } from "../../src/contract/index.js";
import {
  CharTokenizer,
  EmbeddedSampler,
  Engine,
  TokenPolicy,
  tinyConfig,
} from "../../src/index.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { type TrainOptions, train } from "../../src/train.js";
import { shortTask, small } from "./runs.js";

let engine: Engine;
let policy: TokenPolicy;
beforeAll(() => {
  engine = new Engine({ device: "cpu" });
  const tokenizer = new CharTokenizer(shortTask.alphabet!);
  policy = TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer });
});
afterAll(() => {
  policy.dispose();
  engine.dispose();
});

/** A sampler whose first `lags` refreshes come to nothing. */
class Lagging implements Sampler {
  readonly name = "lagging";
  readonly capabilities: ReadonlySet<Capability> = new Set(["logProbs"]);
  readonly asked: SampleRequest[] = [];
  readonly #embedded = new EmbeddedSampler(policy);
  #lags: number;
  #version = 0;

  constructor(
    lags: number,
    readonly upToDate = 2,
  ) {
    this.#lags = lags;
  }

  async refresh(version: number): Promise<void> {
    if (this.#lags-- <= 0) this.#version = version;
  }

  async sample(request: SampleRequest) {
    this.asked.push(request);
    const rollouts = await this.#embedded.sample(request);
    return rollouts.map((t, i) => ({
      ...t,
      // Every second rollout, or none, comes from a replica that is up to date.
      policyVersion: i % this.upToDate === 0 ? this.#version : 1e9,
    }));
  }
}

const corrected = defineSystem({
  ...{ id: "corrected", title: "For a test", arxiv: null, evidence: "low" },
  advantage: groupNormalize(),
  loss: [surrogate({ mismatch: "sequence-mask", mismatchHigh: 3 })],
});

async function run(lags: number, more: TrainOptions, upToDate = 2) {
  const { device: _, ...options } = small;
  const sampler = new Lagging(lags, upToDate);
  const lines: Metrics[] = [];
  const warnings: string[] = [];
  await train({
    ...{ ...options, engine, policy, sampler, system: corrected, evalSteps: null, steps: 3 },
    ...more,
    onStep: ({ step, metrics }) => step > 0 && lines.push(metrics),
    onWarning: (warning) => warnings.push(warning),
  });
  const of = (name: string) => lines.map((metrics) => metrics[`sampling/staleness/${name}`]);
  const rates = lines.map((metrics) => metrics.learning_rate);
  return { sampler, warnings, rates, mean: of("mean"), max: of("max") };
}

describe("rollouts of older weights", () => {
  test("are counted in optimiser steps", async () => {
    // Two updates a step; the first refresh is that before the first step.
    const { mean, max, warnings } = await run(99, {});
    expect(max).toEqual([0, 2, 4]);
    expect(mean).toEqual([0, 1, 2]);
    expect(warnings).toEqual([]);
  });

  test("beyond the bound stop the run", async () => {
    await expect(run(99, { maxStaleness: 2 })).rejects.toMatchObject({
      code: "ERR_SAMPLER",
      message:
        'Expected rollouts at most 2 optimiser steps old (maxStaleness) from "lagging" but 8 of 16 are up to 4 old',
    });
  });

  test("are sampled again on their own streams, after another refresh", async () => {
    const resample = { maxStaleness: 0, staleRollouts: "resample" } as const;
    const { sampler, max } = await run(2, resample);
    expect(max).toEqual([0, 0, 0]);
    // Evaluation, step 1, step 2 and its old half again.
    const [whole, again] = sampler.asked.slice(2);
    expect(again!.counts).toEqual([2, 2, 2, 2]);
    expect(again!.streams).toEqual(whole!.streams.filter((_, i) => i % 2 === 0));
    await expect(run(99, resample)).rejects.toMatchObject({ code: "ERR_SAMPLER" });
  });

  test("are left out of their groups", async () => {
    let trained = 0;
    const { max } = await run(99, {
      ...{ maxStaleness: 2, staleRollouts: "drop" },
      callbacks: [
        {
          phase(report) {
            const rows = report.trained.flatMap(({ trajectories }) => trajectories);
            if (report.step === 3) trained = rows.length;
          },
        },
      ],
    });
    expect(max).toEqual([0, 2, 4]);
    expect(trained).toBe(8);
    // Where all are too old, the step learns nothing.
    const { rates } = await run(99, { maxStaleness: 0, staleRollouts: "drop" }, 1);
    expect(rates).toEqual([2e-4, null, null]);
  });

  test("without a correction are warned of; a bound is needed to say what becomes of them", async () => {
    const { warnings } = await run(0, { system: "grpo", steps: 0 });
    expect(warnings).toEqual([
      expect.stringMatching(
        /sampler "lagging" may be older than the weights, and no loss corrects/,
      ),
    ]);
    await expect(run(0, { staleRollouts: "drop" })).rejects.toThrow(
      /nothing \(there is no maxStaleness\) for train\.staleRollouts/,
    );
  });
});
