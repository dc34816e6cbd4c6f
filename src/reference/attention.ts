/**
 * Causal attention over ragged rows with grouped key/value heads. Layouts: q [Tq, heads, D], k and v
 * [slots, kvHeads, D]. The queries of a row stand at its last positions.
 */
export interface AttentionShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  queryOffsets: ArrayLike<number>;
  keyOffsets: ArrayLike<number>;
  /** Slot of key j of row r: keyIndex[keyOffsets[r] + j]; without it keyOffsets[r] + j. */
  keyIndex?: ArrayLike<number> | null;
  /** Of q . k; default 1 / sqrt(D). */
  scale?: number;
}

interface Weights {
  query: number;
  head: number;
  kvHead: number;
  /** Slot and softmax weight of every key that the query sees. */
  slots: number[];
  weights: number[];
}

function* softmaxWeights(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  shape: AttentionShape,
): Generator<Weights> {
  const { heads, kvHeads, headDim: D, queryOffsets, keyOffsets, keyIndex } = shape;
  const scale = shape.scale ?? 1 / Math.sqrt(D);
  for (let r = 0; r + 1 < queryOffsets.length; ++r) {
    const queries = queryOffsets[r + 1]! - queryOffsets[r]!;
    const keys = keyOffsets[r + 1]! - keyOffsets[r]!;
    for (let i = 0; i < queries; ++i) {
      const query = queryOffsets[r]! + i;
      const visible = keys - queries + i + 1;
      const at = Array.from({ length: visible }, (_, j) => keyOffsets[r]! + j);
      const slots = keyIndex ? at.map((place) => keyIndex[place]!) : at;
      for (let head = 0; head < heads; ++head) {
        const kvHead = Math.floor(head / (heads / kvHeads));
        const scores = slots.map((slot) => {
          let dot = 0;
          for (let d = 0; d < D; ++d) {
            dot += q[(query * heads + head) * D + d]! * k[(slot * kvHeads + kvHead) * D + d]!;
          }
          return dot * scale;
        });
        const max = Math.max(...scores);
        const e = scores.map((score) => Math.exp(score - max));
        const sum = e.reduce((x, y) => x + y, 0);
        yield { query, head, kvHead, slots, weights: e.map((x) => x / sum) };
      }
    }
  }
}

/** out [Tq, heads, D]. */
export function attention(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  shape: AttentionShape,
): Float64Array {
  const { heads, kvHeads, headDim: D } = shape;
  const out = new Float64Array(q.length);
  for (const { query, head, kvHead, slots, weights } of softmaxWeights(q, k, shape)) {
    for (const [j, slot] of slots.entries()) {
      for (let d = 0; d < D; ++d) {
        const at = (query * heads + head) * D + d;
        out[at] = out[at]! + weights[j]! * v[(slot * kvHeads + kvHead) * D + d]!;
      }
    }
  }
  return out;
}

/** d q, d k, d v for a given d out: d score = w (d out . v - d out . out). */
export function attentionGradient(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  dOut: ArrayLike<number>,
  shape: AttentionShape,
): { dQ: Float64Array; dK: Float64Array; dV: Float64Array } {
  const { heads, kvHeads, headDim: D } = shape;
  const scale = shape.scale ?? 1 / Math.sqrt(D);
  const dQ = new Float64Array(q.length);
  const dK = new Float64Array(k.length);
  const dV = new Float64Array(v.length);
  for (const { query, head, kvHead, slots, weights } of softmaxWeights(q, k, shape)) {
    const row = (query * heads + head) * D;
    const dWeights = slots.map((slot) => {
      let dot = 0;
      for (let d = 0; d < D; ++d) dot += dOut[row + d]! * v[(slot * kvHeads + kvHead) * D + d]!;
      return dot;
    });
    const mean = dWeights.reduce((sum, x, j) => sum + x * weights[j]!, 0);
    for (const [j, slot] of slots.entries()) {
      const column = (slot * kvHeads + kvHead) * D;
      const dScore = weights[j]! * (dWeights[j]! - mean) * scale;
      for (let d = 0; d < D; ++d) {
        dQ[row + d] = dQ[row + d]! + dScore * k[column + d]!;
        dK[column + d] = dK[column + d]! + dScore * q[row + d]!;
        dV[column + d] = dV[column + d]! + weights[j]! * dOut[row + d]!;
      }
    }
  }
  return { dQ, dK, dV };
}
