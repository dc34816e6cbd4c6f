import type { RewardPlan } from "../../contract/system.js";
import { invalid } from "../../engine/checks.js";
import { integer, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

export interface OverlongOptions {
  /** Tokens at which the whole penalty is reached; >= 1. */
  maxLength: number;
  /** Tokens before it over which the penalty grows; 1 to maxLength. */
  buffer: number;
  /** The whole penalty; >= 0, default 1. */
  factor?: number;
}

/**
 * Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13): 0 up to maxLength - buffer, then linear down
 * to -factor at maxLength, and -factor beyond.
 */
export function softOverlong(
  length: number,
  { maxLength, buffer, factor = 1 }: OverlongOptions,
): number {
  const excess = length - (maxLength - buffer);
  return excess <= 0 ? 0 : -Math.min(excess / buffer, 1) * factor;
}

const shape = {
  maxLength: integer(20480, { min: 1 }, "actions at which the whole penalty is reached"),
  buffer: integer(4096, { min: 1 }, "actions before it over which the penalty grows"),
  factor: number(1, { min: 0 }, "the whole penalty"),
};

/** What `plan` rewards, plus a penalty for length under the name "overlong". Defaults as in DAPO. */
export function overlongPenalty(
  plan: RewardPlan,
  options: Partial<OverlongOptions> = {},
): RewardPlan {
  const { values, described } = parseOptions("overlongPenalty", shape, options, {
    contradicts: {
      buffer: (o) => (o.buffer > o.maxLength ? `an integer <= maxLength = ${o.maxLength}` : null),
    },
  });
  return {
    block: `${plan.block} + overlongPenalty`,
    options: [...plan.options, ...described],
    requires: plan.requires,
    inspect(run) {
      if (run.rewards.includes("overlong")) {
        throw invalid("ERR_OPTION", "rewards", 'no reward named "overlong"', "overlong");
      }
      return plan.inspect?.(run) ?? [];
    },
    async run(trajectories, ctx) {
      const rewarded = await plan.run(trajectories, ctx);
      return rewarded.map((t) => {
        const overlong = softOverlong(t.actions.length, values);
        const reward = t.reward === null ? null : t.reward + overlong;
        return { ...t, rewards: { ...t.rewards, overlong }, reward };
      });
    },
  };
}
