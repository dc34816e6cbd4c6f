import { FiresteelError } from "../error.js";
import { combine, type KernelTable, type Refusal } from "./kernelTable.js";

// The order of every list is the native numbering: scripts/generateTables.mjs writes it into
// native/kernels/group_norm/choices.h.

/** What is subtracted. */
export const centers = {
  none: "0: the values are only scaled",
  mean: "mean of the group (GRPO, Shao et al. 2024, section 4.1.2)",
  median: "lower median of the group (MC-GRPO, arXiv 2601.22582)",
  "leave-one-out": "mean of the group's other values (RLOO, Ahmadian et al. 2024)",
  ema: "(1 - emaBlend) mean of the group + emaBlend ema, a running mean that the caller keeps (FAKER-Air, arXiv 2511.22169)",
} as const;

/** What is divided by; n values x. Of the batch: the same of all valid values as they are. */
export const scales = {
  none: "1",
  std: "sqrt(sum (x - mean)^2 / (n - ddof))",
  "leave-one-out-std": "std of the group's other values, 0 where they are fewer than two (NeMo-RL)",
  "mean-deviation": "mean |x - mean| (DGPO, arXiv 2601.20614)",
  "median-deviation": "lower median of |x - median| (MC-GRPO, arXiv 2601.22582)",
  range: "max - min",
} as const;

/** Whose scale it is; the centre is always the group's. */
export const scopes = {
  group: "each group's own",
  batch: "one of all valid values (TRL scale_rewards: batch)",
  blend: "(1 - scopeBlend) group's + scopeBlend batch's",
} as const;

/** Where eps stands. */
export const epsPlacements = {
  outside: "scale + eps (TRL, verl)",
  inside: "sqrt(scale^2 + eps) (verl masked_whiten)",
  floor: "sqrt(max(scale^2, eps)) (OpenRLHF)",
} as const;

/** What divides where the scale is 0 although values differ. */
export const zeroScales = {
  eps: "eps as it stands; where that is 0 too, the advantage is 0",
  one: "1: the value is only centred (NeMo-RL)",
} as const;

/** What a valid value alone in its group gives. */
export const singletons = {
  zero: "0",
  value: "itself, as of a group with centre 0 and scale 1 (verl)",
} as const;

export type Center = keyof typeof centers;
export type Scale = keyof typeof scales;
export type Scope = keyof typeof scopes;
export type EpsPlacement = keyof typeof epsPlacements;
export type ZeroScale = keyof typeof zeroScales;
export type Singleton = keyof typeof singletons;

/** What the options below depend on. */
export interface GroupNormChoices {
  readonly center: Center;
  readonly scale: Scale;
  readonly scope: Scope;
}

/** Roots of a variance. */
const roots: readonly Scale[] = ["std", "leave-one-out-std"];
/** Those that can be 0 although values differ. */
const degenerate: readonly Scale[] = ["leave-one-out-std", "median-deviation"];

/** Options that have a meaning beside some choices only: why one has none, or null. */
export const inapplicable = {
  ema: ({ center }) => (center === "ema" ? null : `center is "${center}"`),
  emaBlend: ({ center }) => (center === "ema" ? null : `center is "${center}"`),
  scopeBlend: ({ scope }) => (scope === "blend" ? null : `scope is "${scope}"`),
  ddof: ({ scale }) => (roots.includes(scale) ? null : `scale is "${scale}"`),
  eps: ({ scale }) => (scale === "none" ? 'scale is "none"' : null),
  epsPlacement: ({ scale }) => (scale === "none" ? 'scale is "none"' : null),
  zeroScale: ({ scale }) => (degenerate.includes(scale) ? null : `scale is "${scale}"`),
} as const satisfies Record<string, (choices: GroupNormChoices) => string | null>;

/** Whether centre, scale and scope go together. */
export function refuseCombination({ center, scale, scope }: GroupNormChoices): Refusal | null {
  if (scale === "none") {
    if (scope !== "group") {
      return { reason: "without a scale there is none of the batch", nearest: 'scope: "group"' };
    }
    return center === "none"
      ? { reason: "nothing would be normalised", nearest: 'center: "mean"' }
      : null;
  }
  if (scale !== "leave-one-out-std") return null;
  if (center !== "leave-one-out") {
    const reason = "the std of a value's others goes with their mean";
    return { reason, nearest: 'center: "leave-one-out"' };
  }
  return scope === "group"
    ? null
    : { reason: "a value's others are those of its group", nearest: 'scope: "group"' };
}

/** Whether eps may stand there. */
export function refuseEpsPlacement(scale: Scale, placement: EpsPlacement): Refusal | null {
  return placement === "outside" || roots.includes(scale)
    ? null
    : { reason: `${scale} is not the root of a variance`, nearest: 'epsPlacement: "outside"' };
}

/** @throws FiresteelError ERR_OPTION with the reason and the nearest legal choice */
export function checkCombination(choices: GroupNormChoices, placement: EpsPlacement): void {
  const { center, scale, scope } = choices;
  const combination = refuseCombination(choices);
  if (combination !== null) {
    throw refused(`center "${center}" with scale "${scale}" of scope "${scope}"`, combination);
  }
  const eps = refuseEpsPlacement(scale, placement);
  if (eps !== null) throw refused(`epsPlacement "${placement}" with scale "${scale}"`, eps);
}

function refused(what: string, { reason, nearest }: Refusal): FiresteelError {
  return new FiresteelError("ERR_OPTION", `${what} is refused: ${reason} (nearest: ${nearest})`);
}

const axes = { center: centers, scale: scales, scope: scopes } as const;

export const groupNormTable: KernelTable = {
  family: "group-norm",
  summary: "advantages of values relative to their group: (value - centre) / (scale + eps)",
  source: "stated with each centre and scale; eps, ddof and scope as in TRL, verl and OpenRLHF",
  axes,
  combinations: combine(axes, (c) => refuseCombination(c as unknown as GroupNormChoices)),
  further: { epsPlacement: epsPlacements, zeroScale: zeroScales, singleton: singletons },
  tolerances: [
    {
      // One rounding to float; float64 sums of n values lose n roundings of the largest before that.
      of: "advantage, center, scale",
      cpu: 2 ** -24,
      cuda: 2 ** -24,
      relativeTo: "the result; beside it, for n values, n 2^-50 max|x| (1 + |result|) / divisor",
    },
  ],
};
