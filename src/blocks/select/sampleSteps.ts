import type { RowFilter } from "../../contract/system.js";
import {
  aFunction,
  aNumber,
  anInteger,
  checkArguments,
  numbers,
  optional,
  withFields,
} from "../../engine/arguments.js";
import { choice, integer, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows } from "../columns.js";
import { drawIndex } from "../draw.js";

/** Which of a flow rollout's steps are trained. */
export interface SampleStepsOptions {
  /** Share of the steps that are trained, in (0, 1], rounded down, at least one; default 1. */
  fraction?: number;
  /** Which: the first ones, or others for every rollout; default "first". */
  choose?: "first" | "random";
  /** Steps at the end that are never trained and do not count, >= 0; default 0. */
  dropLast?: number;
}

/**
 * The mask of a rollout of which a share of the steps is trained.
 *
 * @param mask one per step; steps with 0 stay out and are not counted
 * @param uniform draws in [0, 1), for "random"
 */
export function stepMask(
  mask: Uint8Array,
  options: SampleStepsOptions,
  uniform: () => number,
): Uint8Array {
  checkArguments(
    { mask, options, uniform },
    {
      mask: numbers,
      options: withFields({ fraction: optional(aNumber), dropLast: optional(anInteger()) }),
      uniform: aFunction,
    },
  );
  const { fraction = 1, choose = "first", dropLast = 0 } = options;
  const end = Math.max(0, mask.length - dropLast);
  const steps = Array.from({ length: end }, (_, i) => i).filter((i) => mask[i] !== 0);
  const count = Math.min(steps.length, Math.max(1, Math.floor(steps.length * fraction)));
  const out = new Uint8Array(mask.length);
  for (let i = 0; i < count; ++i) {
    const left = steps.length - i;
    const at = choose === "random" ? i + drawIndex(left, uniform) : i;
    [steps[i], steps[at]] = [steps[at]!, steps[i]!];
    out[steps[i]!] = 1;
  }
  return out;
}

const shape = {
  fraction: number(1, { above: 0, max: 1 }, "share of the steps that are trained, rounded down"),
  choose: choice("first", ["first", "random"], "random: other steps for every rollout"),
  dropLast: integer(0, { min: 0 }, "steps at the end that are never trained"),
};

/**
 * Trains a part of each rollout's denoising steps: the others, after they have counted in the
 * statistics, get mask 0 and do not go through the network (DanceGRPO, arXiv 2505.07818, section 3.3:
 * 60 % of the steps at random; Flow-GRPO trains all but the last).
 */
export function sampleSteps(options: SampleStepsOptions = {}): RowFilter {
  const { values, described } = parseOptions("sampleSteps", shape, options);
  return {
    block: "sampleSteps",
    options: described,
    run: (groups, ctx) =>
      mapRows(groups, (t) => ({ ...t, mask: stepMask(t.mask, values, ctx.uniform) })),
  };
}
