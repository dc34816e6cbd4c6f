import type { Prompt, Trajectory } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import { FiresteelError } from "../engine/error.js";
import { sampleRequest, stepContext } from "./context.js";
import { mean } from "./metrics.js";
import { streamAt } from "./random.js";
import type { Run } from "./run.js";

/**
 * The share of right answers on the held-out prompts, as `eval/accuracy`, and on the task's further
 * evaluations: sampled at T = 1, `evalSamples` rollouts each. Of a task without right answers the means
 * of its rewards instead, as `eval/rewards/NAME/mean`, of greedy samples.
 */
export async function evaluate(run: Run, step: number): Promise<Metrics> {
  if (run.task.accuracy === null) return meanRewards(run, step);
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
  const name = run.task.accuracy!;
  const rewarded = await rewardedSamples(run, prompts, step, set, false);
  const right = rewarded.map(({ rewards }) => {
    const value = rewards[name];
    if (value !== undefined) return value !== null && value > 0.5 ? 1 : 0;
    throw new FiresteelError(
      "ERR_REWARD",
      `Expected the system's reward to give "${name}" for evaluation`,
    );
  });
  return mean(right);
}

async function meanRewards(run: Run, step: number): Promise<Metrics> {
  const rewarded = await rewardedSamples(run, run.evaluation, step, 0, true);
  const names = new Set(rewarded.flatMap(({ rewards }) => Object.keys(rewards)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = rewarded.map(({ rewards }) => rewards[name] ?? null);
      return [`eval/rewards/${name}/mean`, mean(values.filter((value) => value !== null))];
    }),
  );
}

async function rewardedSamples(
  run: Run,
  prompts: readonly Prompt[],
  step: number,
  set: number,
  greedy: boolean,
): Promise<Trajectory[]> {
  const { settings, system } = run;
  const request = sampleRequest(
    run,
    { prompts, counts: settings.evalSamples, temperature: 1, greedy },
    (prompt, sample) => streamAt(settings.seed, "evaluation", step, set, prompt, sample),
  );
  const sampled = await run.sampler.sample(request);
  const ctx = stepContext(run, system.phases[0]!, step, () => {});
  return ctx.reward(sampled);
}
