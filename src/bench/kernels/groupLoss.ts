import { groupLoss } from "../../engine/kernels/groupLoss.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { groupLoss as reference } from "../../reference/groupLoss.js";
import { close } from "../../verify/compare.js";
import { slopeTolerance } from "../../verify/groupLoss/values.js";
import { Random } from "../../verify/inputs.js";
import { host } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { evenOffsets } from "./rows.js";

/** Groups that the reference looks at. */
const checked = 4;
const different = 4096;
/** The denominator is given: a group's gradient is then its own. */
const settings = {
  real: { kind: "real", tau: 0.5, denominator: 1 },
  dpo: { kind: "dpo", beta: 0.1, denominator: 1 },
} as const;
type Kind = keyof typeof settings;

interface State {
  score: Tensor;
  reward: Tensor;
  groupOffsets: Offsets;
}

export const groupLossBench: KernelBench<State> = {
  name: "group-loss",
  about: "losses that couple a group (REAL) or a pair (DPO): loss and gradient of the rows' scores",
  work: {
    real: { reads: "12*R + 4*G", writes: "8*R + 8*G", flops: "10*R" },
    dpo: { reads: "8*R + 4*G", writes: "8*R + 8*G", flops: "10*R" },
  },
  cases: (): BenchCase[] =>
    [
      { variant: "real", dtype: "f32", shape: [16_384, 16], sizes: { R: 2 ** 18, G: 16_384 } },
      { variant: "dpo", dtype: "f32", shape: [2 ** 17, 2], sizes: { R: 2 ** 18, G: 2 ** 17 } },
    ].map((c) => ({ ...c, dtype: "f32" as const, cold: true })),
  inputs(c) {
    const random = new Random(1);
    const score = Float64Array.from({ length: different }, () => 0.7 * random.normal());
    const reward = Float32Array.from({ length: different }, () => random.integer(2));
    const repeat = c.sizes.R! / different;
    return {
      score: host(score, "f64", [different], repeat),
      reward: host(reward, "f32", [different], repeat),
    };
  },
  prepare: (engine, { score, reward }, c) => ({
    score: score!,
    reward: reward!,
    groupOffsets: new Offsets(engine, evenOffsets(c.sizes.G!, c.sizes.R!)),
  }),
  run(engine, { score, reward, groupOffsets }, c) {
    const inputs = { score, groupOffsets, ...(c.variant === "real" && { reward }) };
    return { ...groupLoss(engine, inputs, settings[c.variant as Kind]) };
  },
  compared: (c) => ({ dScore: (checked * c.sizes.R!) / c.sizes.G! }),
  check(got, { score, reward }, c) {
    const rows = (checked * c.sizes.R!) / c.sizes.G!;
    const first = {
      score: score!.data.slice(0, rows) as Float64Array,
      reward: reward!.data.slice(0, rows) as Float32Array,
      groupOffsets: evenOffsets(checked, rows),
      lengths: new Int32Array(rows),
      advantage: new Float32Array(rows),
      valid: null,
    };
    const want = reference(first, settings[c.variant as Kind]);
    return close("dScore", got.dScore!, want.dScore, slopeTolerance(first, want));
  },
};
