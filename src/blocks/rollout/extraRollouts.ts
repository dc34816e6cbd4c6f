import type { RolloutPlan } from "../../contract/system.js";
import { integer } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { intoGroups } from "./rollout.js";

const shape = {
  extra: integer(1, { min: 1 }, "rollouts beyond the run's numGenerations, for statistics"),
};

/**
 * Groups with more rollouts than are trained: the further ones sharpen the statistics and a later
 * selection drops them again. Plain `rollout` could not do it: its number is the trained one.
 *
 * @param extra >= 1
 */
export function extraRollouts(extra = 1): RolloutPlan {
  const { values, described } = parseOptions("extraRollouts", shape, { extra });
  return {
    block: "extraRollouts",
    options: described,
    async run(prompts, ctx) {
      const count = ctx.settings.numGenerations + values.extra;
      return intoGroups(prompts, await ctx.sample({ prompts, counts: count }), count);
    },
  };
}
