import type { Metrics } from "../contract/metrics.js";
import { FiresteelError } from "../engine/error.js";
import { sampleRequest, stepContext } from "./context.js";
import { mean } from "./metrics.js";
import { streamAt } from "./random.js";
import type { Run } from "./run.js";

/** pass@1 on the held-out prompts: sampled at T = 1, `evalSamples` rollouts each. */
export async function evaluate(run: Run, step: number): Promise<Metrics> {
  const { task, settings, system } = run;
  const prompts = run.evaluation;
  const request = sampleRequest(
    run,
    { prompts, counts: settings.evalSamples, temperature: 1 },
    (prompt, sample) => streamAt(settings.seed, "evaluation", step, prompt, sample),
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
  return { "eval/accuracy": mean(right) };
}
