import type { Group, Prompt, Trajectory } from "../../contract/data.js";
import type { RolloutPlan } from "../../contract/system.js";
import {
  anInteger,
  anObject,
  aText,
  checkArguments,
  listOf,
  withFields,
} from "../../engine/arguments.js";
import { FiresteelError } from "../../engine/error.js";
import { integer, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";

/**
 * Puts rollouts into the groups of their prompts.
 *
 * @param prompts one per group; the same prompt twice makes two groups
 * @param trajectories those of prompts[0] first, `count` for each
 * @param before groups of the same step that stand before them
 * @throws FiresteelError ERR_SAMPLER where their number is not prompts x count
 */
export function intoGroups(
  prompts: readonly Prompt[],
  trajectories: readonly Trajectory[],
  count: number,
  before = 0,
): Group[] {
  checkArguments(
    { prompts, trajectories, count, before },
    {
      prompts: listOf(withFields({ id: aText })),
      trajectories: listOf(anObject),
      count: anInteger(),
      before: anInteger(),
    },
  );
  if (trajectories.length !== prompts.length * count) {
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected ${prompts.length} x ${count} rollouts from the sampler ` +
        `but received ${trajectories.length}`,
    );
  }
  return prompts.map((prompt, g) => ({
    key: `${before + g}:${prompt.id}`,
    prompt,
    trajectories: trajectories
      .slice(g * count, (g + 1) * count)
      .map((trajectory) => ({ ...trajectory, keys: { ...trajectory.keys, prompt: before + g } })),
  }));
}

const shape = {
  numGenerations: orNull(integer, null, { min: 1 }, "rollouts per prompt; null: as the run has it"),
};

/** Independent rollouts of every prompt (GRPO's group; Shao et al. 2024, section 4.1.1). */
export function rollout(options: { numGenerations?: number | null } = {}): RolloutPlan {
  const { values, described } = parseOptions("rollout", shape, options);
  return {
    block: "rollout",
    options: described,
    async run(prompts, ctx) {
      const count = values.numGenerations ?? ctx.settings.numGenerations;
      return intoGroups(prompts, await ctx.sample({ prompts, counts: count }), count);
    },
  };
}
