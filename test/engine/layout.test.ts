import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { groupNorm } from "../../src/engine/kernels/groupNorm.js";
import { logProb } from "../../src/engine/kernels/logProb.js";
import { surrogate } from "../../src/engine/kernels/surrogate.js";
import { matmul } from "../../src/engine/nn/matmul.js";
import { Offsets } from "../../src/engine/offsets.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { Random } from "../../src/verify/inputs.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const tokens = 100;
const random = new Random(3);
const numbers = {
  logProb: random.normals(tokens).map((x) => -Math.abs(x)),
  oldLogProb: random.normals(tokens).map((x) => -Math.abs(x)),
  advantage: random.normals(3),
};
const mask = Uint8Array.from({ length: tokens }, (_, t) => (t % 3 === 1 ? 0 : 1));
const bounds = [0, 37, 38, tokens];

type Place = (data: Float32Array | Uint8Array | Int32Array) => typeof data;
const copyInto = (data: ArrayBufferView, buffer: ArrayBufferLike, offset: number) =>
  new Uint8Array(buffer, offset, data.byteLength).set(
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
const over = (
  data: Float32Array | Uint8Array | Int32Array,
  buffer: ArrayBufferLike,
  at: number,
) => {
  copyInto(data, buffer, at);
  const Kind = data.constructor as new (b: ArrayBufferLike, o: number, n: number) => typeof data;
  return new Kind(buffer, at, data.length);
};
const resizable = (bytes: number) =>
  Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: 4 * bytes }]) as ArrayBuffer;

/** Where the same numbers may lie; 4-byte elements can only start at multiples of 4 (ECMAScript). */
const places: Record<string, Place> = {
  "in the middle of a larger buffer": (data) =>
    over(data, new ArrayBuffer(data.byteLength + 64), data instanceof Uint8Array ? 13 : 12),
  "in a shared buffer": (data) => over(data, new SharedArrayBuffer(data.byteLength + 8), 4),
  "in a resizable buffer": (data) => over(data, resizable(data.byteLength + 8), 4),
  "in a buffer of Node's pool": (data) => {
    const at = Buffer.allocUnsafe(data.byteLength + 8);
    const shift = data instanceof Uint8Array ? 1 : (4 - (at.byteOffset % 4)) % 4;
    return over(data, at.buffer, at.byteOffset + shift);
  },
};

function run(place: Place) {
  const placed = Object.fromEntries(
    Object.entries({ ...numbers, mask }).map(([name, data]) => [name, place(data as Float32Array)]),
  );
  const rowOffsets = place(Int32Array.from(bounds)) as Int32Array;
  return engine.scope(() => {
    const options = { aggregation: "seq-mean-token-mean" } as const;
    const loss = surrogate(engine, { ...(placed as typeof numbers), rowOffsets }, options);
    const groups = { groupOffsets: rowOffsets, valid: placed.mask as Uint8Array };
    const norm = groupNorm(engine, placed.logProb as Float32Array, groups);
    return [loss.loss, loss.dLogProb, norm.advantage].map((tensor) => [...tensor.readSync()]);
  });
}

describe("arrays", () => {
  const want = run((data) => data);

  it.each(Object.entries(places))("%s give the same bits", (_, place) => {
    expect(run(place)).toEqual(want);
  });

  it("that cannot be read as they are, are refused by name", () => {
    const withMask = (value: unknown) =>
      refusal(() => groupNorm(engine, [1, 2], { groupOffsets: [0, 2], valid: value as never }));
    const values = (value: unknown, offsets: unknown = [0, 2]) =>
      refusal(() => groupNorm(engine, value as never, { groupOffsets: offsets as never }));
    expect(values(new DataView(new ArrayBuffer(8)))).toMatch(
      /^ERR_DTYPE: .* for values .*DataView/,
    );
    expect(values(new Float64Array(2))).toMatch(/^ERR_DTYPE: .*f32 for values .*f64/);
    expect(values(new ArrayBuffer(8))).toMatch(/^ERR_DTYPE: .* for values /);
    expect(values(new BigInt64Array(2))).toMatch(/^ERR_DTYPE: .* for values /);
    // An array with strides, as libraries for arrays have them, is none that could be copied.
    expect(values({ data: [1, 2], shape: [2], strides: [2] })).toMatch(/^ERR_DTYPE: .* values /);
    expect(withMask(new Int8Array(2))).toMatch(/^ERR_DTYPE: .* for valid /);
    expect(values([1, 2], new DataView(new ArrayBuffer(8)))).toMatch(
      /^ERR_DTYPE: .* groupOffsets /,
    );
    expect(values([1, 2], new Int32Array(new SharedArrayBuffer(8)))).toMatch(/^ERR_SHAPE/);
  });

  it("whose buffer shrank or went away count as what they are now: empty", () => {
    const buffer = resizable(16);
    const shrunk = new Float32Array(buffer, 8, 2);
    (buffer as unknown as { resize(bytes: number): void }).resize(8);
    expect(
      refusal(() =>
        surrogate(engine, { ...policy, logProb: shrunk }, { aggregation: "token-mean" }),
      ),
    ).toMatch(/^ERR_SHAPE: .* for logProb but received a Float32Array of 0/);
  });

  const policy = { logProb: [-1, -1], oldLogProb: [-1, -1], advantage: [1], rowOffsets: [0, 2] };
});

describe("views of tensors", () => {
  /** Rows of a tensor that begin `shift` floats, so not at a multiple of 16 bytes, into its memory. */
  const shifted = (data: Float32Array, width: number, shift = 1): Tensor => {
    const rows = data.length / width;
    const all = new Float32Array(data.length + shift * width);
    all.set(data, shift * width);
    return engine.tensor(all, [rows + shift, width]).rows(shift, rows + shift);
  };

  it("that begin anywhere give the same bits, as inputs and as results", () => {
    const rowOffsets = new Offsets(engine, bounds);
    const args = { advantage: numbers.advantage, rowOffsets };
    const flat = (data: Float32Array) => shifted(data, 1).view([data.length]);
    const [current, old] = [numbers.logProb, numbers.oldLogProb];
    const options = { aggregation: "token-mean" } as const;
    const dense = surrogate(engine, { ...args, logProb: current, oldLogProb: old }, options);
    const into = engine.zeros([tokens + 8]);
    const out = { dLogProb: into.rows(3, 3 + tokens) };
    const views = { ...args, logProb: flat(current), oldLogProb: flat(old) };
    const viewed = surrogate(engine, views, { ...options, out });
    expect([...viewed.dLogProb.readSync()]).toEqual([...dense.dLogProb.readSync()]);
    const around = [...into.readSync()];
    expect([...around.slice(0, 3), ...around.slice(-5)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it.each([5, 17, 64, 1001])("of logits with %i columns give the same bits", (columns) => {
    const data = random.normals(4 * columns);
    const targets = [0, 1, 2, 3];
    const dense = logProb(engine, engine.tensor(data, [4, columns]), targets, { entropy: true });
    const viewed = logProb(engine, shifted(data, columns), targets, { entropy: true });
    expect([...viewed.logProb.readSync()]).toEqual([...dense.logProb.readSync()]);
    expect([...viewed.entropy!.readSync()]).toEqual([...dense.entropy!.readSync()]);
  });

  it("of factors give the same bits", () => {
    const [a, b] = [random.normals(6 * 7), random.normals(7 * 9)];
    const dense = matmul(engine, engine.tensor(a, [6, 7]), engine.tensor(b, [7, 9]));
    expect([...matmul(engine, shifted(a, 7), shifted(b, 9)).readSync()]).toEqual([
      ...dense.readSync(),
    ]);
  });
});
