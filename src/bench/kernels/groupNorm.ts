import type { Engine } from "../../engine/engine.js";
import { type GroupNormResult, groupNorm } from "../../engine/kernels/groupNorm.js";
import { groupNormTable } from "../../engine/kernels/groupNormTable.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { groupNorm as reference } from "../../reference/groupNorm.js";
import { close } from "../../verify/compare.js";
import { normals } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { evenOffsets } from "./rows.js";

/** Groups that the reference looks at. */
const checked = 4;
const setting = { center: "mean", scale: "std", scope: "group", ddof: 1, eps: 1e-4 } as const;
/** What does not apply, and the kernel's defaults. */
const rest = {
  ...({ epsPlacement: "outside", zeroScale: "eps", singleton: "zero" } as const),
  ...{ scopeBlend: 0, ema: () => 0, emaBlend: 0 },
};
const work = { reads: "4*R + 4*G", writes: "4*R + 8*G", flops: "5*R" };

interface State {
  values: Tensor;
  groupOffsets: Offsets;
  /** Results of an earlier call, which small calls are given: to make new ones takes longer. */
  out?: GroupNormResult;
}

export const groupNormBench: KernelBench<State> = {
  name: "group-norm",
  about: "group-relative advantages: less the mean, over the standard deviation",
  work: { "": work, small: work },
  cases: (): BenchCase[] => [
    {
      variant: "",
      dtype: "f32",
      shape: [16_384, 64],
      sizes: { R: 2 ** 20, G: 16_384 },
      cold: true,
    },
    { variant: "small", dtype: "f32", shape: [64, 16], sizes: { R: 1024, G: 64 }, small: true },
  ],
  inputs: (c) => ({
    values: normals(1, [c.sizes.R!], { different: Math.min(c.sizes.R!, 2 ** 14) }),
  }),
  prepare(engine, { values }, c) {
    const state = {
      values: values!,
      groupOffsets: new Offsets(engine, evenOffsets(c.sizes.G!, c.sizes.R!)),
    };
    return c.small ? { ...state, out: normalized(engine, state) } : state;
  },
  run: (engine, state) => ({ ...normalized(engine, state) }),
  compared: (c) => ({ advantage: (checked * c.sizes.R!) / c.sizes.G! }),
  check(got, { values }, c) {
    const size = c.sizes.R! / c.sizes.G!;
    const rows = values!.data.subarray(0, checked * size);
    const groups = Array.from({ length: checked }, (_, g) =>
      Array.from({ length: size }, (_, i) => g * size + i),
    );
    const want = reference(rows, groups, { ...setting, ...rest }).advantage;
    // One rounding, and what float64 loses in sums of `size` values of a few units.
    const rounding = groupNormTable.tolerances[0]!.cpu;
    return close("advantage", got.advantage!, want, (i) => rounding * Math.abs(want[i]!) + 1e-12);
  },
};

function normalized(engine: Engine, { values, groupOffsets, out }: State): GroupNormResult {
  const { center, scale, scope, ddof, eps } = setting;
  return groupNorm(engine, values, { groupOffsets, center, scale, scope, ddof, eps, out });
}
