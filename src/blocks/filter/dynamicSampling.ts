import type { Group } from "../../contract/data.js";
import type { StepContext } from "../../contract/stage.js";
import type { GroupFilter } from "../../contract/system.js";
import { aFunction, anInteger, anything, checkArguments, listOf } from "../../engine/arguments.js";
import { didYouMean, show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { choice, integer, nameOrNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { intoGroups } from "../rollout/rollout.js";
import { isConstant } from "./zeroVariance.js";

/** What a refill has come to. */
export interface Refill<G> {
  /** Groups with something to compare, in the order of their generation: at most as many as wanted. */
  readonly kept: readonly G[];
  /** How often groups were generated, the first time included. */
  readonly generations: number;
  /** All groups that were generated, and those of them that vary. */
  readonly generated: number;
  readonly varied: number;
}

/**
 * Keeps groups that vary and generates more until there are as many as at first, or the generations are
 * used up; surplus is dropped (DAPO, Yu et al. 2025, section 3.2).
 *
 * @param first groups of the first generation
 * @param varies whether a group holds a comparison
 * @param generate a further generation, given how many groups came before
 * @param maxGenerations >= 1, the first one included
 */
export async function refill<G>(
  first: readonly G[],
  varies: (group: G) => boolean,
  generate: (before: number) => Promise<readonly G[]>,
  maxGenerations: number,
): Promise<Refill<G>> {
  checkArguments(
    { first, varies, generate, maxGenerations },
    {
      first: listOf(anything),
      varies: aFunction,
      generate: aFunction,
      maxGenerations: anInteger(1, Number.MAX_SAFE_INTEGER),
    },
  );
  const wanted = first.length;
  const kept = first.filter(varies);
  let generated = wanted;
  let generations = 1;
  while (kept.length < wanted && generations < maxGenerations) {
    const more = await generate(generated);
    checkArguments({ generated: more }, { generated: listOf(anything) });
    kept.push(...more.filter(varies));
    generated += more.length;
    generations += 1;
  }
  return { kept: kept.slice(0, wanted), generations, generated, varied: kept.length };
}

const shape = {
  metric: nameOrNull("reward that must vary within a group; null: any of the task's own"),
  maxGenerations: integer(
    10,
    { min: 1 },
    "how often the step's prompts are drawn and sampled, at most",
  ),
  exhausted: choice(
    "train",
    ["train", "refuse"],
    "what happens when the batch is not full by then: train on what there is, or stop with an error",
  ),
};

/** When a batch counts as full, and what happens where it does not become so. */
export type DynamicSamplingOptions = Partial<{
  /** The reward that must vary within a group; default null: any of the task's own. */
  metric: string | null;
  /** How often the step's prompts are drawn and sampled, at most; >= 1, default 10. */
  maxGenerations: number;
  /** Where the batch is not full by then: "train" (default) on what there is, or end with an error. */
  exhausted: "train" | "refuse";
}>;

/**
 * Dynamic sampling: groups whose metric is constant teach nothing under a group-relative advantage, so the
 * task's next training prompts take their place until the batch is full. Penalties that a reward plan
 * adds (length, KL) do not make a group vary. Further prompts are the task's, whatever the phase's source.
 *
 * Reports `filter/generations` and `filter/kept`, the share of groups that vary; rewards and lengths of
 * the step are those of its first generation, which no selection has touched.
 *
 * @throws FiresteelError ERR_REWARD where the batch stays short and `exhausted` is "refuse"
 */
export function dynamicSampling(options: DynamicSamplingOptions = {}): GroupFilter {
  const { values, described } = parseOptions("dynamicSampling", shape, options);
  const { metric, maxGenerations, exhausted } = values;
  return {
    block: "dynamicSampling",
    options: described,
    inspect(run) {
      if (metric === null || run.rewards.includes(metric)) return [];
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected one of the task's rewards (${run.rewards.map(show).join(", ")}) for ` +
          `dynamicSampling.metric but received ${show(metric)}${didYouMean(metric, run.rewards)}`,
      );
    },
    async run(groups, ctx) {
      const metrics = metric === null ? Object.keys(ctx.rewards) : [metric];
      const varies = ({ trajectories }: Group) =>
        metrics.some((name) => !isConstant(trajectories.map((t) => t.rewards[name] ?? null)));
      // Rollouts as many as a group has already: a rollout plan may sample more than are trained.
      const count = Math.max(1, ...groups.map(({ trajectories }) => trajectories.length));
      const { kept, generations, generated, varied } = await refill(
        groups,
        varies,
        (before) => generateGroups(ctx, groups.length, count, before),
        maxGenerations,
      );
      ctx.measure("filter/generations", { kind: "mean", sum: generations, count: 1 });
      ctx.measure("filter/kept", { kind: "mean", sum: varied, count: generated });
      if (kept.length < groups.length && exhausted === "refuse") {
        throw new FiresteelError(
          "ERR_REWARD",
          `Expected ${groups.length} groups whose ${metrics.map(show).join(" or ")} varies within ` +
            `${maxGenerations} generations but found ${kept.length} of ${generated}: the prompts are ` +
            "too easy or too hard",
        );
      }
      return [...kept];
    },
  };
}

async function generateGroups(
  ctx: StepContext,
  prompts: number,
  count: number,
  before: number,
): Promise<Group[]> {
  const drawn = ctx.prompts(prompts);
  const rewarded = await ctx.reward(await ctx.sample({ prompts: drawn, counts: count }));
  return intoGroups(drawn, rewarded, count, before);
}
