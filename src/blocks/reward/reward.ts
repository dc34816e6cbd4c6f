import type { Trajectory } from "../../contract/data.js";
import type { Measurer } from "../../contract/metrics.js";
import type { RewardContext, RewardFunction } from "../../contract/reward.js";
import type { RewardPlan } from "../../contract/system.js";
import {
  aFunction,
  aNumber,
  anObject,
  anything,
  aSignal,
  aText,
  checkArguments,
  listOf,
  optional,
  recordOf,
  withFields,
} from "../../engine/arguments.js";
import { didYouMean, show, throwIfAborted } from "../../engine/checks.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { FiresteelError } from "../../engine/error.js";
import { numbersByName } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

const rewarded = {
  trajectories: listOf(withFields({ prompt: withFields({ columns: anObject }), text: aText })),
  signal: aSignal,
  measure: optional(aFunction),
};

const summands = { rewards: recordOf(rewardOrNull), weights: recordOf(aNumber) };

const aRewardContext = withFields({
  completions: listOf(aText),
  trajectories: listOf(anything),
  signal: aSignal,
  measure: optional(aFunction),
});

/**
 * Weighted sum of the rewards that apply; null where none does (as in TRL, which leaves missing
 * rewards out of the sum).
 */
export function weightedSum(
  rewards: Readonly<Record<string, number | null>>,
  weights: Readonly<Record<string, number>> = {},
): number | null {
  checkArguments({ rewards, weights }, summands);
  let sum: number | null = null;
  for (const [name, reward] of Object.entries(rewards)) {
    if (reward !== null) sum = (sum ?? 0) + (weights[name] ?? 1) * reward;
  }
  return sum;
}

/** What reward functions see of a batch; `measure` takes metrics by their full names. */
export function rewardContext(
  trajectories: readonly Trajectory[],
  signal: AbortSignal,
  measure?: Measurer,
): RewardContext {
  checkArguments({ trajectories, signal, measure }, rewarded);
  const names = new Set(trajectories.flatMap(({ prompt }) => Object.keys(prompt.columns)));
  const columns = [...names].map((name) => [
    name,
    trajectories.map(({ prompt }) => prompt.columns[name] ?? null),
  ]);
  return {
    prompts: trajectories.map(({ prompt }) => prompt),
    completions: trajectories.map(({ text }) => text),
    trajectories,
    columns: Object.fromEntries(columns),
    signal,
    measure,
  };
}

/**
 * The first thing about values that makes them no rewards, and at which completion; null where they
 * are.
 */
export function unfitRewards(
  values: unknown,
  count: number,
): { at: number | null; expected: string; received: unknown } | null {
  if (!Array.isArray(values) || values.length !== count) {
    return { at: null, expected: `${count} values`, received: values };
  }
  const at = values.findIndex((value) => value !== null && !Number.isFinite(value));
  if (at === -1) return null;
  return { at, expected: "a finite number or null", received: values[at] };
}

/**
 * One reward function's values for a batch.
 *
 * @throws FiresteelError ERR_REWARD where it throws, gives another number of values, or a value that
 *   is neither a finite number nor null; ERR_ABORTED where it throws after the signal
 */
export async function callReward(
  name: string,
  reward: RewardFunction,
  ctx: RewardContext,
): Promise<readonly (number | null)[]> {
  checkArguments({ name, reward, ctx }, { name: aText, reward: aFunction, ctx: aRewardContext });
  let values: readonly (number | null)[];
  const { measure } = ctx;
  const named: RewardContext = {
    ...ctx,
    measure: measure && ((metric, part) => measure(`rewards/${name}/${metric}`, part)),
  };
  try {
    values = await reward(named);
  } catch (cause) {
    throwIfAborted(ctx.signal, `The reward "${name}"`);
    const message = `The reward "${name}" threw: ${cause instanceof Error ? cause.message : cause}`;
    throw new FiresteelError("ERR_REWARD", message, { cause });
  }
  const unfit = unfitRewards(values, ctx.trajectories.length);
  if (unfit === null) return values;
  const { at, expected, received } = unfit;
  const where = at === null ? "" : ` for completion ${at} (${show(ctx.completions[at])})`;
  const message = `Expected ${expected} from the reward "${name}"${where} but received ${show(received)}`;
  throw new FiresteelError("ERR_REWARD", message);
}

const shape = {
  rewardWeights: numbersByName("factor of each reward by name; the task's where not given"),
};

/** The task's rewards, added with weights: those given here, else the task's, else 1. */
export function reward(
  options: { rewardWeights?: Readonly<Record<string, number>> } = {},
): RewardPlan {
  const { values, described } = parseOptions("reward", shape, options);
  const weights = values.rewardWeights;
  return {
    block: "reward",
    options: described,
    inspect(run) {
      for (const name of Object.keys(weights)) {
        if (run.rewards.includes(name)) continue;
        throw new FiresteelError(
          "ERR_OPTION",
          `Expected names of the task's rewards (${run.rewards.map(show).join(", ")}) ` +
            `in reward.rewardWeights but received ${show(name)}${didYouMean(name, run.rewards)}`,
        );
      }
      return [];
    },
    async run(trajectories, ctx) {
      const context = rewardContext(trajectories, ctx.signal, ctx.measure);
      const named = await Promise.all(
        Object.entries(ctx.rewards).map(
          async ([name, fn]) => [name, await callReward(name, fn, context)] as const,
        ),
      );
      return trajectories.map((trajectory, i) => {
        const rewards = Object.fromEntries(named.map(([name, values]) => [name, values[i]!]));
        const reward = weightedSum(rewards, { ...ctx.rewardWeights, ...weights });
        return { ...trajectory, rewards, reward };
      });
    },
  };
}
