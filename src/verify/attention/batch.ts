import type { Engine } from "../../engine/engine.js";
import { attention, attentionBackward } from "../../engine/nn/attention.js";
import { offsetsOf } from "../../engine/ragged.js";
import type { AttentionShape } from "../../reference/attention.js";
import { Random } from "../inputs.js";

export interface AttentionBatch extends AttentionShape {
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
  sharpness = 1,
): AttentionBatch {
  const random = new Random(heads * 1000 + headDim);
  const rowOffsets = offsetsOf(lengths);
  const tokens = rowOffsets.at(-1)!;
  return {
    heads,
    kvHeads,
    headDim,
    rowOffsets,
    queryOffsets: rowOffsets,
    keyOffsets: rowOffsets,
    q: random.normals(tokens * heads * headDim, sharpness),
    k: random.normals(tokens * kvHeads * headDim),
    v: random.normals(tokens * kvHeads * headDim),
    dOut: random.normals(tokens * heads * headDim),
  };
}

function upload(engine: Engine, b: AttentionBatch) {
  const tokens = b.rowOffsets.at(-1)!;
  return {
    q: engine.tensor(b.q, [tokens, b.heads, b.headDim]),
    k: engine.tensor(b.k, [tokens, b.kvHeads, b.headDim]),
    v: engine.tensor(b.v, [tokens, b.kvHeads, b.headDim]),
    dOut: engine.tensor(b.dOut, [tokens, b.heads, b.headDim]),
  };
}

export function train(engine: Engine, b: AttentionBatch) {
  const { q, k, v, dOut } = upload(engine, b);
  const rows = { queryOffsets: b.rowOffsets, keyOffsets: b.rowOffsets };
  const { out, stats } = attention(engine, { q, k, v, ...rows, scale: b.scale, stats: true });
  const { rowOffsets, scale } = b;
  const gradients = () =>
    attentionBackward(engine, { q, k, v, rowOffsets, scale, out, stats: stats!, dOut });
  return { out, gradients };
}
