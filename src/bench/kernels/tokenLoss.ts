import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { surrogate } from "../../engine/kernels/surrogate.js";
import { tokenLoss } from "../../engine/kernels/tokenLoss.js";
import { Offsets } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import { logProbGradient, logProb as reference } from "../../reference/logProb.js";
import { surrogate as surrogateReference } from "../../reference/surrogate.js";
import { firstOf } from "../../verify/check.js";
import { close } from "../../verify/compare.js";
import { backwardTolerance, forwardTolerance, rowsOf } from "../../verify/logProb/cases.js";
import { host, normals } from "../inputs.js";
import type { BenchCase, KernelBench, Made } from "../kernel.js";
import { checked, different, firstRows, logitInputs, vocab } from "./logProb.js";
import { evenOffsets } from "./rows.js";

/** Tokens of a row of the loss; as many as there are different rows of logits. */
const length = different;
// Token-sum: the first tokens' gradients do not depend on how many follow.
const options = { epsilon: 0.2, aggregation: "token-sum" } as const;

interface State {
  tensors: Record<"logits" | "targets" | "oldLogProb" | "advantage", Tensor>;
  rowOffsets: Offsets;
  /** The logits themselves, or of their shape. In place a second call has other logits: no matter. */
  out: Tensor;
}

// A row is still in a cache when its gradient is due.
const fused = { reads: "b*T*V + 8*T + 8*R", writes: "b*T*V + 8*T", flops: "8*T*V" };
const three = { reads: "2*b*T*V + 28*T + 8*R", writes: "b*T*V + 16*T", flops: "8*T*V" };

export const tokenLossBench: KernelBench<State> = {
  name: "token-loss",
  about: "log-probs, clipped loss and the gradient over the logits: in one call, and in three",
  work: {
    fused,
    "three calls": three,
    "fused in place": { ...fused, inPlace: true },
    "three calls in place": { ...three, inPlace: true },
  },
  cases({ device }): BenchCase[] {
    const tokens = device === "cuda" ? 8192 : 256;
    const sizes = { T: tokens, V: vocab, R: tokens / length };
    return (["f32", "bf16"] as const).flatMap((dtype) =>
      ["fused", "three calls", "fused in place", "three calls in place"].map((variant) => {
        return { variant, dtype, shape: [tokens, vocab], sizes };
      }),
    );
  },
  inputs(c) {
    const { T, V } = c.sizes as { T: number; V: number };
    const { logits, targets } = logitInputs(c.dtype, T, V);
    const rows = firstRows({ logits: logits!, targets: targets!, dLogProb: targets! }, different);
    const { logProb: now } = reference(rowsOf(rows));
    // Ratios within the clip range and beyond it.
    const old = Float32Array.from(now, (value, t) => value - [0.05, -0.1, 0.3, -0.4][t % 4]!);
    return {
      logits: logits!,
      targets: targets!,
      oldLogProb: host(old, "f32", [different], T / different),
      advantage: normals(5, [T / length], { different: 1 }),
    };
  },
  prepare: (engine, tensors, c) => ({
    tensors: tensors as State["tensors"],
    rowOffsets: new Offsets(engine, evenOffsets(c.sizes.R!, c.sizes.T!)),
    out: inPlace(c) ? tensors.logits! : engine.empty([c.sizes.T!, c.sizes.V!], c.dtype),
  }),
  run(engine, { tensors, rowOffsets, out }, c): Made {
    if (c.variant.startsWith("fused")) {
      const made = tokenLoss(
        engine,
        { ...tensors, rowOffsets },
        { ...options, out: { dLogits: out } },
      );
      return { logProb: made.logProb, dLogits: made.dLogits, loss: made.loss };
    }
    const { logits, targets, oldLogProb, advantage } = tensors;
    const { logProb: now, stats } = logProb(engine, logits, targets);
    const inputs = { logProb: now, oldLogProb, advantage, rowOffsets };
    const { loss, dLogProb } = surrogate(engine, inputs, options);
    const dLogits = logProbBackward(engine, { logits, targets, stats, dLogProb, out });
    return { logProb: now, dLogits, loss };
  },
  compared: () => ({ logProb: checked, dLogits: checked }),
  check(got, inputs) {
    const { oldLogProb, advantage } = inputs;
    const rows = firstRows({ ...inputs, dLogProb: oldLogProb! });
    const now = reference(rowsOf(rows)).logProb;
    const { dLogProb } = surrogateReference(
      {
        logProb: now,
        oldLogProb: oldLogProb!.data.subarray(0, checked),
        advantage: advantage!.data.subarray(0, 1),
        rowOffsets: [0, checked],
      },
      options,
    );
    const above = { ...rows, dLogProb: Float32Array.from(dLogProb) };
    const want = logProbGradient(rowsOf(rows), dLogProb);
    // A ratio carries the log-prob's error into what comes from above.
    const ofLogits = backwardTolerance(above);
    const ofRow = Float64Array.from({ length: checked }, (_, t) => forwardTolerance(rows)(t));
    const carried = (i: number) => (ofRow[Math.floor(i / rows.vocab)]! + 1e-6) * Math.abs(want[i]!);
    return firstOf(
      close("logProb", got.logProb!, now, (t) => ofRow[t]!),
      close("dLogits", got.dLogits!, want, (i) => ofLogits(i) + carried(i)),
    );
  },
};

const inPlace = ({ variant }: BenchCase) => variant.endsWith("in place");
