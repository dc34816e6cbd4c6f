/** Valid arguments of what embedded policies are made of. */
import { Slots } from "../../../dist/engine/offsets.js";
import { some } from "./kernels.mjs";

const floats = ["f32", "bf16", "f16"];

export const nn = {
  matmul: (w) => {
    const dtype = w.pick(floats);
    const how = some(w, { transposeA: true, transposeB: true });
    const a = how.transposeA ? [3, 2] : [2, 3];
    const b = how.transposeB ? [4, 3] : [3, 4];
    const into = w.chance(0.3) && { accumulateInto: w.tensor([2, 4]) };
    return [w.engine, w.tensor(a, dtype), w.tensor(b, dtype), { ...how, ...into }];
  },
  attention: (w) => [
    w.engine,
    {
      q: w.tensor([4, 2, 8]),
      k: w.tensor([4, 1, 8]),
      v: w.tensor([4, 1, 8]),
      queryOffsets: w.offsets([0, 3, 4]),
      keyOffsets: w.offsets([0, 3, 4]),
      ...some(w, {
        scale: 0.5,
        stats: true,
        keyIndex: w.hold(new Slots(w.engine, [3, 2, 1, 0], 4)),
      }),
    },
  ],
  attentionBackward: (w) => [
    w.engine,
    {
      q: w.tensor([4, 2, 8]),
      k: w.tensor([4, 1, 8]),
      v: w.tensor([4, 1, 8]),
      rowOffsets: w.offsets([0, 3, 4]),
      out: w.tensor([4, 2, 8]),
      stats: w.tensor([4, 2, 2]),
      dOut: w.tensor([4, 2, 8]),
    },
  ],
  rmsNorm: (w) => [
    w.engine,
    w.tensor([2, 4]),
    w.data([4]),
    some(w, { eps: 1e-5, residual: w.tensor([2, 4]) }),
  ],
  rmsNormBackward: (w) => [
    w.engine,
    {
      x: w.tensor([2, 4]),
      weight: w.data([4]),
      invRms: w.data([2]),
      dY: w.tensor([2, 4]),
      ...some(w, { dSum: w.tensor([2, 4]) }),
    },
  ],
  rope: (w) => [
    w.engine,
    w.tensor([2, 1, 4]),
    w.ids([0, 1]),
    some(w, { base: 1e4, inverse: true }),
  ],
  gatherRows: (w) => [w.engine, w.tensor([3, 4]), w.ids([2, 0])],
  scatterRows: (w) => [w.engine, w.tensor([2, 4]), w.ids([2, 0]), w.tensor([3, 4])],
  scatterAddRows: (w) => [w.engine, w.tensor([2, 4]), w.ids([2, 2]), w.tensor([3, 4])],
  swiglu: (w) => [w.engine, w.tensor([2, 4]), w.tensor([2, 4])],
  swigluBackward: (w) => [
    w.engine,
    { gate: w.tensor([2, 4]), up: w.tensor([2, 4]), dY: w.tensor([2, 4]) },
  ],
  add: (w) => [w.engine, w.tensor([2, 4]), w.tensor([2, 4]), some(w, { out: w.tensor([2, 4]) })],
  addBias: (w) => [w.engine, w.tensor([2, 4]), w.data([4]), some(w, { out: w.tensor([2, 4]) })],
  sumRows: (w) => [w.engine, w.tensor([2, 4])],
  scale: (w) => [
    w.engine,
    2,
    w.tensor([2, 4]),
    w.pick([{}, { out: w.tensor([2, 4]), accumulate: true }]),
  ],
  fill: (w) => [w.engine, w.tensor([2, 4]), 1.5],
  cast: (w) => {
    const dtype = w.pick(floats);
    return [w.engine, w.tensor([2, 4]), dtype, some(w, { out: w.tensor([2, 4], dtype) })];
  },
  sample: (w) => [
    w.engine,
    w.tensor([2, 5]),
    w.pick([{ uniform: [0.1, 0.9] }, { uniform: [0.1, 0.9], temperature: 0.5 }, { greedy: true }]),
  ],
  sumSquares: (w) => [
    w.engine,
    w.pick([w.tensor([6]), [w.tensor([6]), w.tensor([3])]]),
    w.tensor([1], "f64"),
  ],
  adamw: (w) => [
    w.engine,
    {
      tensors: [{ param: w.tensor([6]), grad: w.tensor([6]), m: w.tensor([6]), v: w.tensor([6]) }],
      lr: 1e-3,
      beta1: 0.9,
      beta2: 0.99,
      eps: 1e-8,
      weightDecay: 0.1,
      step: 1,
      ...(w.chance(0.5) && { gradSquare: w.tensor([1], "f64"), maxGradNorm: 1 }),
    },
  ],
};
