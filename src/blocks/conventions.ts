import { checkChoice } from "../engine/checks.js";

/**
 * Defaults in which the libraries differ, by the block that they are options of. A block takes
 * `conventions` as an option; whatever is given beside it holds.
 */
export const conventions = {
  /** Hugging Face TRL, GRPOTrainer of 2026. */
  trl: {
    groupNormalize: { ddof: 1, eps: 1e-4, singleton: "zero" },
    surrogate: {
      emptyRows: "count",
      dualClip: null,
      cispoRange: [0, 5],
      ratioCap: 20,
      logRatioClamp: null,
      klClamp: null,
      mismatchLow: 0,
      mismatchHigh: 3,
    },
  },
  /** verl, core_algos.py of 2026. */
  verl: {
    groupNormalize: { ddof: 1, eps: 1e-6, singleton: "value" },
    surrogate: {
      emptyRows: "skip",
      dualClip: 3,
      cispoRange: null,
      ratioCap: 3,
      logRatioClamp: [-20, 20],
      klClamp: { difference: 20, value: 10 },
      mismatchLow: 0,
      mismatchHigh: 2,
    },
  },
  /** OpenRLHF, models/loss.py and experience_maker.py of 2026. */
  openrlhf: {
    groupNormalize: { ddof: 1, eps: 1e-9, singleton: "zero" },
    surrogate: {
      emptyRows: "skip",
      dualClip: null,
      cispoRange: null,
      ratioCap: 20,
      logRatioClamp: [-20, 20],
      klClamp: { value: 10 },
      mismatchLow: 0.5,
      mismatchHigh: 5,
    },
  },
  /** yifan123/flow_grpo, stat_tracking.py and train_sd3.py of 2025: for flow policies. */
  flow_grpo: {
    groupNormalize: { ddof: 0, eps: 1e-4, singleton: "zero" },
    surrogate: {
      emptyRows: "count",
      dualClip: null,
      cispoRange: null,
      ratioCap: 20,
      logRatioClamp: null,
      klClamp: null,
      mismatchLow: 0,
      mismatchHigh: 3,
    },
  },
} as const;

/** Name of a library whose defaults hold. */
export type Conventions = keyof typeof conventions;
export const conventionNames = Object.keys(conventions) as Conventions[];

/** The presets that a block's options ask for. @throws FiresteelError ERR_OPTION */
export function conventionsOf(options: unknown): (typeof conventions)[Conventions] {
  const given = (options as { conventions?: unknown } | null)?.conventions;
  return conventions[checkChoice("conventions", given ?? "trl", conventionNames)];
}
