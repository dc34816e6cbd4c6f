/** Valid arguments of the engine, its tensors and offsets: constructors, methods and getters. */
import { Engine, FiresteelError, Offsets } from "../../../dist/index.js";
import { hostile, resizable } from "../values.mjs";

const of = (self, ...args) => ({ self, args });

/** An array of six in one of the ways that memory can lie. */
function six(w) {
  return w.pick([
    Float32Array.of(1, 2, 3, 4, 5, 6),
    [1, 2, 3, 4, 5, 6],
    new Float32Array(new SharedArrayBuffer(24)),
    resizable(Float32Array, 6, 6),
  ]);
}

const tensor = (w) => w.tensor([2, 3]);

/** An engine of this call's own: closing it costs the others nothing. */
function own(w) {
  return w.hold(new Engine({ device: w.engine.device, threads: 1, memoryLimit: 1 << 20 }));
}

export const engine = {
  Engine: (w) => [
    {
      device: w.engine.device,
      threads: 1,
      memoryLimit: 1 << 20,
      matmul: "auto",
      onFault: () => {},
    },
  ],
  "Engine#device": (w) => of(w.engine),
  "Engine#disposed": (w) => of(w.engine),
  "Engine#handle": (w) => of(w.engine),
  "Engine#tensor": (w) => of(w.engine, six(w), [2, 3], ...(w.chance(0.3) ? ["f32"] : [])),
  "Engine#wrap": (w) =>
    of(w.engine, new Float32Array(new SharedArrayBuffer(32), w.pick([0, 4, 8]), 6), [2, 3]),
  "Engine#zeros": (w) => of(w.engine, [2, 3], w.pick(["f32", "f64", "u8", "bf16"])),
  "Engine#empty": (w) => of(w.engine, [2, 3], w.pick(["f32", "f64", "i32"])),
  "Engine#scope": (w) =>
    of(w.engine, () => ({ kept: w.engine.zeros([2]), rest: [w.engine.zeros([3])] })),
  "Engine#keep": (w) => of(w.engine, tensor(w)),
  "Engine#adopt": (w) => of(w.engine, tensor(w)),
  "Engine#attempt": (w) => of(w.engine, () => tensor(w)),
  "Engine#report": (w) => of(w.engine, [["log_prob", 0, 1, 0]]),
  "Engine#memory": (w) => of(w.engine),
  "Engine#synchronize": (w) => of(w.engine),
  "Engine#dispose": (w) => of(own(w)),
  Tensor: (w) => {
    const { addon, handle } = w.engine;
    return [w.engine, addon.allocate(handle, 0, 6), "f32", [2, 3]];
  },
  "Tensor#disposed": (w) => of(tensor(w)),
  "Tensor#rows": (w) => of(tensor(w), 0, 1),
  "Tensor#view": (w) => of(tensor(w), [3, 2]),
  "Tensor#read": (w) =>
    of(
      tensor(w),
      w.pick([
        {},
        { into: new Float32Array(6) },
        { into: resizable(Float32Array, 6, 6) },
        { signal: w.signal(0) },
      ]),
    ),
  "Tensor#readSync": (w) => of(tensor(w), w.pick([{}, { into: new Float32Array(6) }])),
  "Tensor#write": (w) => of(tensor(w), six(w)),
  "Tensor#dispose": (w) => of(tensor(w)),
  Offsets: (w) => [w.engine, w.pick([[0, 2, 4], Int32Array.of(0, 2, 4)])],
  "Offsets#dispose": (w) => of(new Offsets(w.engine, [0, 2])),
  FiresteelError: (w) => ["ERR_RANGE", "of the user's own", { cause: hostile(w) }],
};

/** For `instanceof` in what judges a call. */
export { FiresteelError };
