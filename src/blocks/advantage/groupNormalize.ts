import type { Advantage } from "../../contract/system.js";
import { anEngine, anObject, checkArguments, listOf } from "../../engine/arguments.js";
import { rewardOrNull } from "../../engine/contractKinds.js";
import { engineOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { type GroupNormOptions, groupNorm } from "../../engine/kernels/groupNorm.js";
import {
  type Center,
  centers,
  checkCombination,
  epsPlacements,
  inapplicable,
  type Scale,
  scales,
  scopes,
  singletons,
  zeroScales,
} from "../../engine/kernels/groupNormTable.js";
import { choice, integer, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { groupOffsets, mapRows, withColumn } from "../columns.js";
import {
  type Conventions,
  conventionNames,
  type conventions,
  conventionsOf,
} from "../conventions.js";

/** As of the kernel `groupNorm`: groups by `groupOffsets` or `keys`. */
export type GroupAdvantageOptions = Omit<GroupNormOptions, "valid">;

/**
 * Advantages of rewards relative to their group: (reward - center) / (scale + eps).
 *
 * @param rewards one per row; null leaves the statistics and gets 0
 * @returns advantage [R]; center and scale (before eps) [G]
 */
export async function groupAdvantages(
  engine: Engine,
  rewards: readonly (number | null)[],
  options: GroupAdvantageOptions,
): Promise<{ advantage: number[]; center: number[]; scale: number[] }> {
  checkArguments(
    { engine, rewards, options },
    { engine: anEngine, rewards: listOf(rewardOrNull), options: anObject },
  );
  const values = Float32Array.from(rewards, (reward) => reward ?? 0);
  const valid = Uint8Array.from(rewards, (reward) => (reward === null ? 0 : 1));
  const result = groupNorm(engine, values, { ...options, valid });
  try {
    const [advantage, center, scale] = await Promise.all([
      result.advantage.read(),
      result.center.read(),
      result.scale.read(),
    ]);
    return { advantage: [...advantage], center: [...center], scale: [...scale] };
  } finally {
    for (const tensor of Object.values(result)) tensor.dispose();
  }
}

const choicesOf = <T extends string>(table: Readonly<Record<T, string>>) =>
  Object.keys(table) as T[];

const shapeFor = (preset: (typeof conventions)[Conventions]["groupNormalize"]) => ({
  conventions: choice("trl", conventionNames, "whose defaults ddof, eps and singleton have"),
  center: choice(
    "mean",
    choicesOf(centers).filter((center) => center !== "ema"),
    "what is subtracted; the median is the lower one of an even count",
  ),
  scale: choice("std", choicesOf(scales), "what is divided by"),
  scope: choice(
    "group",
    choicesOf(scopes),
    "whether the scale is each group's, the batch's or a blend",
  ),
  scopeBlend: number(0.5, { min: 0, max: 1 }, "the batch's share in scope blend"),
  ddof: integer(preset.ddof, { min: 0, max: 1 }, "1: sample std, 0: population std"),
  eps: number(preset.eps, { min: 0 }, "keeps the divisor from 0"),
  epsPlacement: choice(
    "outside",
    choicesOf(epsPlacements),
    "outside: scale + eps; inside: sqrt(scale^2 + eps); floor: sqrt(max(scale^2, eps))",
  ),
  zeroScale: choice(
    "eps",
    choicesOf(zeroScales),
    "what divides where the scale is 0 though rewards differ: eps, or 1 (NeMo-RL)",
  ),
  singleton: choice(
    preset.singleton,
    choicesOf(singletons),
    "what a reward alone in its group gives: 0, or itself over 1 + eps (verl)",
  ),
});

/**
 * How, without which rows: the groups are the phase's. Center "ema" is for callers of `groupAdvantages`
 * who keep the running mean; a stage of its own remembers it across steps.
 */
export type GroupNormalizeOptions = Omit<
  GroupAdvantageOptions,
  "groupOffsets" | "keys" | "center" | "ema" | "emaBlend"
> & { center?: Exclude<Center, "ema">; conventions?: Conventions };

/** Scales that are 0 in groups of unequal rewards, where those are all 0 or 1. */
const binaryDegeneracy: Readonly<Partial<Record<Scale, string>>> = {
  "median-deviation":
    "the median deviation of every group is 0, the majority's advantages are 0 and the minority's",
  "leave-one-out-std":
    "the only success or failure of a group has others with a std of 0, and such advantages",
};

/**
 * Group-relative advantages (Shao et al. 2024, section 4.1.2), one number a row. Defaults as in TRL, or by
 * `conventions`.
 */
export function groupNormalize(options: GroupNormalizeOptions = {}): Advantage {
  const { ema: _, emaBlend: __, ...conditions } = inapplicable;
  const shape = shapeFor(conventionsOf(options).groupNormalize);
  const { values, described } = parseOptions("groupNormalize", shape, options, {
    inapplicable: {
      ...conditions,
      scope: (o) => (o.scale === "none" ? 'scale is "none"' : null),
    },
  });
  checkCombination(values, values.epsPlacement);
  const { scale, eps, zeroScale } = values;
  const applicable = described.filter(
    ({ name, value }) => value !== null && name !== "conventions",
  );
  const statistics: GroupNormalizeOptions = Object.fromEntries(
    applicable.map(({ name, value }) => [name, value]),
  );
  return {
    block: "groupNormalize",
    options: described,
    inspect(run) {
      const degenerate = binaryDegeneracy[scale];
      if (degenerate === undefined || zeroScale === "one" || !run.binaryRewards) return [];
      const effect =
        eps === 0
          ? "are 0 too"
          : `are +-1/eps = ${Number((1 / eps).toPrecision(3))}: only Adam and gradient clipping hide ` +
            "this, and a KL term is negligible beside it";
      return [
        `groupNormalize: with rewards of 0 and 1 ${degenerate} ${effect}. Choose graded rewards, ` +
          'another scale, zeroScale: "one" or a larger eps.',
      ];
    },
    async run(groups, ctx) {
      const rewards = groups.flatMap((group) => group.trajectories.map((t) => t.reward));
      const { advantage } = await groupAdvantages(engineOf(ctx.engine), rewards, {
        groupOffsets: groupOffsets(groups),
        ...statistics,
      });
      return mapRows(groups, (t, row) =>
        withColumn(t, "advantage", { level: "row", value: advantage[row]! }),
      );
    },
  };
}
