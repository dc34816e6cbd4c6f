import type { Group } from "../../contract/data.js";
import type { GroupFilter } from "../../contract/system.js";
import { checkArguments, listOf } from "../../engine/arguments.js";
import { aGroup, rewardOrNull } from "../../engine/contractKinds.js";
import { parseOptions } from "../../options/parseOptions.js";

/** Whether a group's rewards hold no comparison: fewer than two, or all equal. Nulls do not count. */
export function isConstant(rewards: readonly (number | null)[]): boolean {
  checkArguments({ rewards }, { rewards: listOf(rewardOrNull) });
  const present = rewards.filter((reward) => reward !== null);
  return present.every((reward) => reward === present[0]);
}

/** Splits groups into those that can teach something and those that cannot. */
export function splitByVariance(groups: readonly Group[]): { varied: Group[]; constant: Group[] } {
  checkArguments({ groups }, { groups: listOf(aGroup) });
  const varied: Group[] = [];
  const constant: Group[] = [];
  for (const group of groups) {
    (isConstant(group.trajectories.map((t) => t.reward)) ? constant : varied).push(group);
  }
  return { varied, constant };
}

/**
 * Leaves out groups whose rewards are all equal, so that they do not count in the denominators of the
 * loss either. The share of groups left out is reported as `filter/zero_variance`.
 */
export function dropZeroVariance(options: Record<string, never> = {}): GroupFilter {
  const { described } = parseOptions("dropZeroVariance", {}, options);
  return {
    block: "dropZeroVariance",
    options: described,
    run(groups, ctx) {
      const { varied, constant } = splitByVariance(groups);
      const part = { kind: "mean", sum: constant.length, count: groups.length } as const;
      ctx.measure("filter/zero_variance", part);
      return varied;
    },
  };
}
