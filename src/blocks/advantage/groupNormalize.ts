import type { Advantage } from "../../contract/system.js";
import { checkChoice } from "../../engine/checks.js";
import { engineOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import {
  centers,
  type GroupNormOptions,
  groupNorm,
  scales,
  scopes,
} from "../../engine/kernels/groupNorm.js";
import { Offsets, offsetValues } from "../../engine/offsets.js";
import { choice, integer, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { groupOffsets, mapRows, withColumn } from "../columns.js";

const defaultEps = 1e-4;
const singletons = ["zero", "value"] as const;

export interface GroupAdvantageOptions extends Omit<GroupNormOptions, "valid"> {
  /** What a reward alone in its group gives: 0 (default), or itself over 1 + eps, as in verl. */
  singleton?: (typeof singletons)[number];
}

/** The rows whose reward has no other to be compared with. */
function aloneIn(rewards: readonly (number | null)[], options: GroupAdvantageOptions): number[] {
  const { groupOffsets, keys } = options;
  const bounds = groupOffsets instanceof Offsets ? offsetValues(groupOffsets) : groupOffsets;
  const only = new Map<string | number, number | null>();
  for (let row = 0, group = 0; row < rewards.length; ++row) {
    while (bounds !== undefined && row >= bounds[group + 1]!) ++group;
    const key = keys?.[row] ?? group;
    if (rewards[row] !== null) only.set(key, only.has(key) ? null : row);
  }
  return [...only.values()].filter((row) => row !== null);
}

/**
 * Advantages of rewards relative to their group: (reward - center) / (scale + eps).
 *
 * @param rewards one per row; null leaves the statistics and gets 0
 * @param options as of the kernel `groupNorm`: groups by `groupOffsets` or `keys`
 * @returns advantage [R]; center and scale (before eps) [G]
 */
export async function groupAdvantages(
  engine: Engine,
  rewards: readonly (number | null)[],
  options: GroupAdvantageOptions,
): Promise<{ advantage: number[]; center: number[]; scale: number[] }> {
  const values = Float32Array.from(rewards, (reward) => reward ?? 0);
  const valid = Uint8Array.from(rewards, (reward) => (reward === null ? 0 : 1));
  const { singleton = "zero", ...statistics } = options;
  const result = groupNorm(engine, values, { ...statistics, valid });
  try {
    const [advantage, center, scale] = await Promise.all([
      result.advantage.read(),
      result.center.read(),
      result.scale.read(),
    ]);
    if (checkChoice("singleton", singleton, singletons) === "value") {
      const divisor = options.scale === "none" ? 1 : 1 + (options.eps ?? defaultEps);
      for (const row of aloneIn(rewards, options)) advantage[row] = values[row]! / divisor;
    }
    return { advantage: [...advantage], center: [...center], scale: [...scale] };
  } finally {
    for (const tensor of Object.values(result)) tensor.dispose();
  }
}

const shape = {
  center: choice(
    "mean",
    centers,
    "what is subtracted; the median is the lower one of an even count",
  ),
  scale: choice("std", scales, "what is divided by"),
  scope: choice("group", scopes, "whether the scale is each group's or the whole batch's"),
  ddof: integer(1, { min: 0, max: 1 }, "1: sample std, 0: population std"),
  eps: number(defaultEps, { min: 0 }, "added to the scale, outside of the root"),
  singleton: choice(
    "zero",
    singletons,
    "what a reward alone in its group gives: 0, or itself over 1 + eps (verl)",
  ),
};

/** How, without which rows: the groups are the phase's. */
export type GroupNormalizeOptions = Omit<GroupAdvantageOptions, "groupOffsets" | "keys">;

/** Group-relative advantages (Shao et al. 2024, section 4.1.2), one number a row. Defaults as in TRL. */
export function groupNormalize(options: GroupNormalizeOptions = {}): Advantage {
  const unscaled = (o: { scale: string }) => (o.scale === "none" ? 'scale is "none"' : null);
  const { values, described } = parseOptions("groupNormalize", shape, options, {
    inapplicable: {
      scope: unscaled,
      ddof: (o) => (o.scale === "std" ? null : `scale is "${o.scale}"`),
      eps: unscaled,
    },
  });
  const { center, scale, scope, eps, singleton } = values;
  const ddof = scale === "std" ? (values.ddof as 0 | 1) : undefined;
  return {
    block: "groupNormalize",
    options: described,
    inspect(run) {
      if (scale !== "median-deviation" || !run.binaryRewards) return [];
      const size = eps === 0 ? "infinite before clamping" : `${Number((1 / eps).toPrecision(3))}`;
      return [
        "groupNormalize: with rewards of 0 and 1 the median deviation of every group is 0, so the " +
          `minority's advantages are +-1/eps = ${size} and the majority's 0: only Adam and gradient ` +
          "clipping hide this, and a KL term is negligible beside it. Choose graded rewards, another " +
          "scale or a larger eps.",
      ];
    },
    async run(groups, ctx) {
      const rewards = groups.flatMap((group) => group.trajectories.map((t) => t.reward));
      const { advantage } = await groupAdvantages(engineOf(ctx.engine), rewards, {
        groupOffsets: groupOffsets(groups),
        center,
        scale,
        scope,
        ddof,
        eps,
        singleton,
      });
      return mapRows(groups, (t, row) =>
        withColumn(t, "advantage", { level: "row", value: advantage[row]! }),
      );
    },
  };
}
