import type { Engine } from "../../engine/engine.js";
import { attention, attentionBackward } from "../../engine/nn/attention.js";
import { offsetsOf } from "../../engine/ragged.js";
import type { Tensor } from "../../engine/tensor.js";
import type { AttentionShape } from "../../reference/attention.js";
import { type Float, Random, typed, widen } from "../inputs.js";

/** The arrays hold numbers of `dtype`. */
export interface AttentionBatch extends AttentionShape {
  dtype: Float;
  rowOffsets: Int32Array;
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  dOut: Float32Array;
}

export function attentionBatch(
  heads: number,
  kvHeads: number,
  headDim: number,
  lengths: readonly number[],
  dtype: Float = "f32",
  sharpness = 1,
): AttentionBatch {
  const random = new Random(heads * 1000 + headDim);
  const rowOffsets = offsetsOf(lengths);
  const tokens = rowOffsets.at(-1)!;
  const normals = (count: number, scale = 1) =>
    Float32Array.from(typed(random.normals(count, scale), dtype).numbers);
  return {
    dtype,
    heads,
    kvHeads,
    headDim,
    rowOffsets,
    queryOffsets: rowOffsets,
    keyOffsets: rowOffsets,
    q: normals(tokens * heads * headDim, sharpness),
    k: normals(tokens * kvHeads * headDim),
    v: normals(tokens * kvHeads * headDim),
    dOut: normals(tokens * heads * headDim),
  };
}

/** A tensor of the batch's dtype. */
export function upload(
  engine: Engine,
  b: AttentionBatch,
  data: Float32Array,
  heads: number,
): Tensor {
  const shape = [data.length / (heads * b.headDim), heads, b.headDim];
  return engine.tensor(typed(data, b.dtype).data, shape, b.dtype);
}

/** The numbers of a tensor of the batch's dtype. */
export function numbers(b: AttentionBatch, tensor: Tensor): Float64Array {
  return widen(tensor.readSync() as Float32Array | Uint16Array, b.dtype);
}

export function train(engine: Engine, b: AttentionBatch) {
  const [q, dOut] = [b.q, b.dOut].map((x) => upload(engine, b, x, b.heads)) as [Tensor, Tensor];
  const [k, v] = [b.k, b.v].map((x) => upload(engine, b, x, b.kvHeads)) as [Tensor, Tensor];
  const rows = { queryOffsets: b.rowOffsets, keyOffsets: b.rowOffsets };
  const { out, stats } = attention(engine, { q, k, v, ...rows, scale: b.scale, stats: true });
  const { rowOffsets, scale } = b;
  const gradients = () =>
    attentionBackward(engine, { q, k, v, rowOffsets, scale, out, stats: stats!, dOut });
  return { out, stats: stats!, gradients };
}
