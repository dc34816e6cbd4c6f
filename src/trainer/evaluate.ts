import type { Prompt, Trajectory } from "../contract/data.js";
import type { Metrics } from "../contract/metrics.js";
import type { Task } from "../contract/task.js";
import { FiresteelError } from "../engine/error.js";
import { mean } from "../statistics/mean.js";
import { sampleRequest, stepContext, wholeRollouts } from "./context.js";
import { rewardEvaluation } from "./evaluationNames.js";
import { streamAt } from "./random.js";
import { majorityVote, passAtK } from "./repeatedSamples.js";
import type { Run } from "./run.js";

/**
 * How many answers on the held-out prompts are right, of `evalSamples` sampled at T = 1 for each:
 * - `eval/accuracy`: their share; likewise under its own name for each of the task's further evaluations.
 * - `eval/greedy_accuracy` (`evalGreedy`): the share of prompts whose most probable answer is.
 * - `eval/pass@K` (`evalPassAtK`): the mean over prompts of `passAtK`.
 * - `eval/maj@K` (`evalMajAtK`): the share of votes of K that are won by a right answer, over as many
 *   votes as the samples give without using one twice. Answers are told apart by the task's `answer`, or
 *   by the whole text.
 *
 * Of a task without right answers the means of its rewards instead, as `eval/rewards/NAME/mean`, over
 * `evalSamples` greedy samples for each prompt.
 */
export async function evaluate(run: Run, step: number): Promise<Metrics> {
  if (run.task.accuracy === null) return meanRewards(run, step);
  const { settings } = run;
  const { evalSamples: samples } = settings;
  const sets = Object.entries(run.evaluations);
  const heldOut = await judged(run, run.evaluation, step, 0, { counts: samples });
  const metrics: Metrics = { "eval/accuracy": share(heldOut) };
  if (settings.evalGreedy) {
    const greedy = await judged(run, run.evaluation, step, 1 + sets.length, {
      counts: 1,
      greedy: true,
    });
    metrics["eval/greedy_accuracy"] = share(greedy);
  }
  const byPrompt = run.evaluation.map((_, p) => heldOut.slice(p * samples, (p + 1) * samples));
  for (const k of settings.evalPassAtK) {
    const of = (own: readonly Judged[]) => passAtK(samples, own.filter((t) => t.right).length, k);
    metrics[`eval/pass@${k}`] = mean(byPrompt.map(of));
  }
  for (const k of settings.evalMajAtK) {
    const votes = byPrompt.flatMap((own) =>
      Array.from({ length: Math.floor(samples / k) }, (_, v) => own.slice(v * k, (v + 1) * k)),
    );
    metrics[`eval/maj@${k}`] = mean(votes.map((own) => (majorityIsRight(run.task, own) ? 1 : 0)));
  }
  for (const [i, [name, prompts]] of sets.entries()) {
    metrics[name] = share(await judged(run, prompts, step, 1 + i, { counts: samples }));
  }
  return metrics;
}

interface Judged {
  readonly trajectory: Trajectory;
  readonly right: boolean;
}

function share(answers: readonly Judged[]): number | null {
  return mean(answers.map(({ right }) => (right ? 1 : 0)));
}

function majorityIsRight(task: Task, votes: readonly Judged[]): boolean {
  const winner = majorityVote(
    votes.map(({ trajectory: { text } }) => (task.answer === undefined ? text : task.answer(text))),
  );
  return winner !== null && votes[winner]!.right;
}

async function meanRewards(run: Run, step: number): Promise<Metrics> {
  const counts = run.settings.evalSamples;
  const rewarded = await rewardedAnswers(run, run.evaluation, step, 0, { counts, greedy: true });
  const names = new Set(rewarded.flatMap(({ rewards }) => Object.keys(rewards)));
  return Object.fromEntries(
    [...names].map((name) => {
      return [rewardEvaluation(name), mean(rewarded.map(({ rewards }) => rewards[name] ?? null))];
    }),
  );
}

/** Answers of a set of prompts, which is a place of its own among the random streams. */
async function judged(
  run: Run,
  prompts: readonly Prompt[],
  step: number,
  set: number,
  how: { counts: number; greedy?: boolean },
): Promise<Judged[]> {
  const accuracy = run.task.accuracy!;
  const rewarded = await rewardedAnswers(run, prompts, step, set, how);
  return rewarded.map((trajectory) => {
    const value = trajectory.rewards[accuracy];
    if (value !== undefined) return { trajectory, right: value !== null && value > 0.5 };
    throw new FiresteelError(
      "ERR_REWARD",
      `Expected the system's reward to give "${accuracy}" for evaluation`,
    );
  });
}

async function rewardedAnswers(
  run: Run,
  prompts: readonly Prompt[],
  step: number,
  set: number,
  how: { counts: number; greedy?: boolean },
): Promise<Trajectory[]> {
  const { settings, system } = run;
  const request = sampleRequest(run, { prompts, temperature: 1, ...how }, (prompt, sample) =>
    streamAt(settings.seed, "evaluation", step, set, prompt, sample),
  );
  const sampled = await wholeRollouts(run, run.sampler, request);
  const ctx = stepContext(run, system.phases[0]!, step, () => {});
  return ctx.reward(sampled);
}
