import type { RewardPlan } from "../../contract/system.js";
import { aNumber, anObject, checkArguments, optional, withFields } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { aStage } from "../../engine/contractKinds.js";
import { integer, number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/** From which length on, and how hard, long completions are punished. */
export interface OverlongOptions {
  /** Tokens at which the whole penalty is reached; >= 1. */
  maxLength: number;
  /** Tokens before it over which the penalty grows; > 0, at most maxLength. */
  buffer: number;
  /** The whole penalty; >= 0, default 1. */
  factor?: number;
}

/**
 * Soft overlong punishment (DAPO, Yu et al. 2025, eq. 13): 0 up to maxLength - buffer, then linear down
 * to -factor at maxLength, and -factor beyond.
 */
export function softOverlong(length: number, options: OverlongOptions): number {
  checkArguments(
    { length, options },
    {
      length: aNumber,
      options: withFields({ maxLength: aNumber, buffer: aNumber, factor: optional(aNumber) }),
    },
  );
  const { maxLength, buffer, factor = 1 } = options;
  const excess = length - (maxLength - buffer);
  return excess <= 0 ? 0 : -Math.min(excess / buffer, 1) * factor;
}

const shape = {
  maxLength: orNull(
    integer,
    null,
    { min: 1 },
    "actions at which the whole penalty is reached; null: the run's maxCompletionLength",
  ),
  buffer: orNull(
    number,
    null,
    { above: 0 },
    "actions before it over which the penalty grows; null: a fifth of maxLength",
  ),
  factor: number(1, { min: 0 }, "the whole penalty"),
};

type Given = { [K in keyof OverlongOptions]?: OverlongOptions[K] | null };

/** Of DAPO's 20,480 actions the last 4,096 (Yu et al. 2025, section 4.1). */
const bufferShare = 0.2;

/**
 * What `plan` rewards, plus a penalty for length under the name "overlong". By default it begins where
 * DAPO's does, in proportion to the run's maxCompletionLength.
 */
export function overlongPenalty(plan: RewardPlan, options: Given = {}): RewardPlan {
  checkArguments({ plan, options }, { plan: aStage, options: anObject });
  const { values, described } = parseOptions("overlongPenalty", shape, options, {
    contradicts: {
      buffer: (o) =>
        o.maxLength !== null && o.buffer !== null && o.buffer > o.maxLength
          ? `a number <= maxLength = ${o.maxLength}`
          : null,
    },
  });
  const limits = (maxCompletionLength: number): OverlongOptions => {
    const maxLength = values.maxLength ?? maxCompletionLength;
    return { maxLength, buffer: values.buffer ?? bufferShare * maxLength, factor: values.factor };
  };
  return {
    block: `${plan.block} + overlongPenalty`,
    options: [...plan.options, ...described],
    requires: plan.requires,
    inspect(run) {
      if (run.rewards.includes("overlong")) {
        throw invalid("ERR_OPTION", "rewards", 'no reward named "overlong"', "overlong");
      }
      const { maxLength, buffer } = limits(run.maxCompletionLength);
      if (maxLength === 0) {
        const expected = "an integer (the rollouts' maxCompletionLength is not known)";
        throw invalid("ERR_OPTION", "overlongPenalty.maxLength", expected, null);
      }
      if (buffer > maxLength) {
        const expected = `a number <= the run's maxCompletionLength = ${maxLength}`;
        throw invalid("ERR_OPTION", "overlongPenalty.buffer", expected, buffer);
      }
      return plan.inspect?.(run) ?? [];
    },
    async run(trajectories, ctx) {
      const rewarded = await plan.run(trajectories, ctx);
      const shaping = limits(ctx.settings.maxCompletionLength);
      return rewarded.map((t) => {
        const overlong = softOverlong(t.actions.length, shaping);
        const reward = t.reward === null ? null : t.reward + overlong;
        return { ...t, rewards: { ...t.rewards, overlong }, reward };
      });
    },
  };
}
