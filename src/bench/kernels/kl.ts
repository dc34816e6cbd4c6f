import { klEstimate } from "../../engine/kernels/kl.js";
import { klTable } from "../../engine/kernels/klTable.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { kl as reference } from "../../reference/kl.js";
import { close } from "../../verify/compare.js";
import { Random } from "../../verify/inputs.js";
import { host } from "../inputs.js";
import type { BenchCase, KernelBench } from "../kernel.js";
import { evenOffsets } from "./rows.js";

/** Rows that the reference looks at. */
const checked = 4;
const different = 256;

interface State {
  tokens: Record<"logProb" | "refLogProb", Tensor>;
  rowOffsets: Offsets;
}

export const klBench: KernelBench<State> = {
  name: "kl",
  about: "k3 estimates of the KL to a reference, and their row sums",
  work: { "": { reads: "8*T + 4*R", writes: "4*T + 8*R", flops: "5*T" } },
  cases: (): BenchCase[] => [
    {
      variant: "",
      dtype: "f32",
      shape: [16_384, 64],
      sizes: { T: 2 ** 20, R: 16_384 },
      cold: true,
    },
  ],
  inputs(c) {
    const { T, R } = c.sizes as { T: number; R: number };
    const random = new Random(1);
    const logProb = random.normals((different * T) / R).map((x) => -Math.abs(x));
    const refLogProb = logProb.map((x) => x + 0.3 * random.normal());
    const shape = [logProb.length];
    return {
      logProb: host(logProb, "f32", shape, R / different),
      refLogProb: host(refLogProb, "f32", shape, R / different),
    };
  },
  prepare: (engine, tensors, c) => ({
    tokens: tensors as State["tokens"],
    rowOffsets: new Offsets(engine, evenOffsets(c.sizes.R!, c.sizes.T!)),
  }),
  run: (engine, { tokens, rowOffsets }) => ({
    ...klEstimate(engine, { ...tokens, rowOffsets }, { estimator: "k3" }),
  }),
  compared: (c) => ({ kl: (checked * c.sizes.T!) / c.sizes.R! }),
  check(got, { logProb, refLogProb }, c) {
    const tokens = (checked * c.sizes.T!) / c.sizes.R!;
    const rows = {
      logProb: logProb!.data.subarray(0, tokens),
      refLogProb: refLogProb!.data.subarray(0, tokens),
      rowOffsets: evenOffsets(checked, tokens),
    };
    const want = reference(rows, "k3").kl;
    return close("kl", got.kl!, want, (t) => klTable.tolerances[0]!.cpu * Math.abs(want[t]!));
  },
};
