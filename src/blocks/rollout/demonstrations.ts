import type { RolloutPlan } from "../../contract/system.js";
import { invalid } from "../../engine/checks.js";
import { parseOptions } from "../../options/parseOptions.js";
import { intoGroups } from "./rollout.js";

/**
 * One right answer to every prompt, as the task demonstrates it, or else its label: nothing is sampled, and
 * the rows have no sampler's log-probs. Rewards, where they are reported, are those of the answers shown.
 */
export function demonstrations(options: Record<string, never> = {}): RolloutPlan {
  const { described } = parseOptions("demonstrations", {}, options);
  return {
    block: "demonstrations",
    options: described,
    inspect(run) {
      if (run.demonstrations !== false) return [];
      const expected = "a task that demonstrates answers, or whose labels are text";
      throw invalid("ERR_OPTION", "demonstrations", expected, "one without");
    },
    run: (prompts, ctx) =>
      intoGroups(
        prompts,
        prompts.map((prompt) => ctx.demonstrate(prompt)),
        1,
      ),
  };
}
