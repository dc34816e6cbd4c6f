import type { Prompt } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import { FiresteelError } from "../engine/error.js";
import { sampleRequest, stepContext } from "./context.js";
import { mean } from "./metrics.js";
import { streamAt } from "./random.js";
import type { Run } from "./run.js";

/**
 * The share of right answers on the held-out prompts, as `eval/accuracy`, and on the task's further
 * evaluations: sampled at T = 1, `evalSamples` rollouts each.
 */
export async function evaluate(run: Run, step: number): Promise<Metrics> {
  const metrics: Metrics = {};
  const sets = Object.entries({ "eval/accuracy": run.evaluation, ...run.evaluations });
  for (const [index, [name, prompts]] of sets.entries()) {
    metrics[name] = await accuracy(run, prompts, step, index);
  }
  return metrics;
}

async function accuracy(
  run: Run,
  prompts: readonly Prompt[],
  step: number,
  set: number,
): Promise<number | null> {
  const { task, settings, system } = run;
  const request = sampleRequest(
    run,
    { prompts, counts: settings.evalSamples, temperature: 1 },
    (prompt, sample) => streamAt(settings.seed, "evaluation", step, set, prompt, sample),
  );
  const sampled = await run.sampler.sample(request);
  const ctx = stepContext(run, system.phases[0]!, step, () => {});
  const rewarded = await ctx.reward(sampled);
  const right = rewarded.map(({ rewards }) => {
    const value = rewards[task.accuracy];
    if (value !== undefined) return value !== null && value > 0.5 ? 1 : 0;
    throw new FiresteelError(
      "ERR_REWARD",
      `Expected the system's reward to give "${task.accuracy}" for evaluation`,
    );
  });
  return mean(right);
}
