import { checkBoolean, checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import { type Offsets, type OffsetsLike, offsetValues, Slots } from "../offsets.js";
import type { Tensor } from "../tensor.js";

/** The largest head, by the dtype of q, k and v. */
export const MAX_HEAD_DIM = { f32: 256, bf16: 128, f16: 128 } as const;

/** What `attention` takes: queries of T tokens in R rows, keys and values in slots. */
export interface AttentionInputs {
  /** f32, bf16 or f16 [T, heads, headDim]; headDim at most 256 in f32, 128 in bf16 and f16. */
  q: TensorLike;
  /** [slots, kvHeads, headDim] in q's dtype; heads is a multiple of kvHeads. */
  k: Tensor;
  /** As k. */
  v: Tensor;
  /** Row r's queries: `queryOffsets[r]` to `queryOffsets[r + 1]` of the T. */
  queryOffsets: OffsetsLike;
  /** Row r's keys; its queries are its last positions. At least as many as queries. */
  keyOffsets: OffsetsLike;
  /** The slot of every key, in the order of `keyOffsets`; default: key j is at slot j. */
  keyIndex?: Slots | Int32Array | readonly number[];
  /** Multiplies q.k; default 1 / sqrt(headDim). */
  scale?: number;
  /** Also what the backward pass needs; default false. */
  stats?: boolean;
}

/** What `attention` makes. */
export interface AttentionResult {
  /** [T, heads, headDim] in q's dtype. */
  out: Tensor;
  /** f32 [T, heads, 2]: maximum of the scaled scores and sum of exp(score - maximum), or null. */
  stats: Tensor | null;
}

/**
 * Causal softmax attention over ragged rows with grouped key heads: a query at position p of its row
 * sees the row's keys 0 .. p. Training (keys are the batch's own tokens) and decoding (keys lie in
 * slots of a cache that rows may share) give the same bits.
 *
 * bf16 and f16: scores, weights and sums are f32; CUDA multiplies on tensor cores, for which it rounds
 * the unnormalised weights to the dtype (FlashAttention-2, Dao 2023).
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function attention(engine: Engine, args: AttentionInputs): AttentionResult {
  checkKeys("the argument", args, [
    "q",
    "k",
    "v",
    "queryOffsets",
    "keyOffsets",
    "keyIndex",
    "scale",
    "stats",
  ]);
  const stats = checkBoolean("stats", args.stats ?? false);
  return withInputs(engine, (inputs) => {
    const { q, k, v, tokens, slots, heads, kvHeads, headDim } = checkHeads(inputs, args);
    const scale = checkScale(args.scale, headDim);
    const queries = inputs.offsets("queryOffsets", args.queryOffsets);
    const keys = inputs.offsets("keyOffsets", args.keyOffsets);
    const index = slotsOf(engine, inputs, args.keyIndex, slots);
    checkTotal("queryOffsets", queries, tokens);
    checkTotal("keyOffsets", keys, index?.count ?? slots);
    checkRows(queries, keys);
    const out = {
      out: inputs.empty([tokens, heads, headDim], q.dtype),
      stats: stats ? inputs.empty([tokens, heads, 2]) : null,
    };
    engine.addon.attentionForward(
      engine.handle,
      dtypes[q.dtype].code,
      tokens,
      queries.rows,
      keys.total,
      slots,
      heads,
      kvHeads,
      headDim,
      scale,
      handle(queries),
      handle(keys),
      handle(index),
      handle(q),
      handle(k),
      handle(v),
      handle(out.out),
      handle(out.stats),
    );
    return out;
  });
}

/** What `attentionBackward` takes: the forward call's inputs, its result and the gradient of `out`. */
export interface AttentionBackwardInputs {
  /** [T, heads, headDim], [T, kvHeads, headDim] twice, as in the forward call of training. */
  q: TensorLike;
  k: TensorLike;
  v: TensorLike;
  /** Row r holds the tokens `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
  /** As in the forward call. */
  scale?: number;
  /** Of the forward call. */
  out: TensorLike;
  stats: TensorLike;
  /** [T, heads, headDim] in q's dtype: gradient with respect to `out`. */
  dOut: TensorLike;
}

/**
 * Gradients with respect to q, k and v, for attention whose keys are the batch's own tokens. Sums run
 * in a fixed order: the result does not depend on the number of threads.
 *
 * @returns [T, heads, headDim], [T, kvHeads, headDim] twice, in q's dtype
 * @throws FiresteelError as `attention`
 */
export function attentionBackward(
  engine: Engine,
  args: AttentionBackwardInputs,
): { dQ: Tensor; dK: Tensor; dV: Tensor } {
  checkKeys("the argument", args, ["q", "k", "v", "rowOffsets", "scale", "out", "stats", "dOut"]);
  return withInputs(engine, (inputs) => {
    const { q, k, v, tokens, slots, heads, kvHeads, headDim } = checkHeads(inputs, args);
    const scale = checkScale(args.scale, headDim);
    if (slots !== tokens) throw invalid("ERR_SHAPE", "k", `${tokens} tokens, as q has`, slots);
    const out = inputs.tensor("out", args.out, q.dtype, q.shape);
    const stats = inputs.tensor("stats", args.stats, "f32", [tokens, heads, 2]);
    const dOut = inputs.tensor("dOut", args.dOut, q.dtype, q.shape);
    const rows = inputs.offsets("rowOffsets", args.rowOffsets);
    checkTotal("rowOffsets", rows, tokens);
    const d = {
      dQ: inputs.empty(q.shape, q.dtype),
      dK: inputs.empty(k.shape, q.dtype),
      dV: inputs.empty(v.shape, q.dtype),
    };
    engine.addon.attentionBackward(
      engine.handle,
      dtypes[q.dtype].code,
      tokens,
      rows.rows,
      heads,
      kvHeads,
      headDim,
      scale,
      handle(rows),
      handle(q),
      handle(k),
      handle(v),
      handle(out),
      handle(stats),
      handle(dOut),
      handle(d.dQ),
      handle(d.dK),
      handle(d.dV),
    );
    return d;
  });
}

const floats = ["f32", "bf16", "f16"] as const;

function checkHeads(inputs: Inputs, args: { q: TensorLike; k: TensorLike; v: TensorLike }) {
  const q = inputs.tensor("q", args.q, floats, [null, null, null]);
  const dtype = q.dtype as (typeof floats)[number];
  const [tokens, heads, headDim] = q.shape as [number, number, number];
  checkInteger("q.shape[1] (heads)", heads, 1, 2 ** 16);
  checkInteger("q.shape[2] (head dimension)", headDim, 1, MAX_HEAD_DIM[dtype]);
  const k = inputs.tensor("k", args.k, dtype, [null, null, headDim]);
  const [slots, kvHeads] = k.shape as [number, number, number];
  if (kvHeads === 0 || heads % kvHeads !== 0) {
    throw invalid("ERR_SHAPE", "k.shape[1] (key heads)", `a divisor of ${heads}`, kvHeads);
  }
  const v = inputs.tensor("v", args.v, dtype, [slots, kvHeads, headDim]);
  return { q, k, v, tokens, slots, heads, kvHeads, headDim };
}

function checkScale(scale: number | undefined, headDim: number): number {
  return checkNumber("scale", scale ?? 1 / Math.sqrt(headDim), -1e30, 1e30);
}

function checkTotal(name: string, offsets: Offsets, total: number): void {
  if (offsets.total === total) return;
  throw invalid("ERR_SHAPE", name, `offsets that end at ${total}`, offsets.total);
}

function checkRows(queries: Offsets, keys: Offsets): void {
  if (queries.rows !== keys.rows) {
    throw invalid("ERR_SHAPE", "keyOffsets", `offsets of ${queries.rows} rows`, keys.rows);
  }
  const [first, firstKey] = [offsetValues(queries), offsetValues(keys)];
  for (let row = 0; row < queries.rows; ++row) {
    const count = first[row + 1]! - first[row]!;
    const most = firstKey[row + 1]! - firstKey[row]!;
    if (count <= most) continue;
    const name = `queryOffsets of row ${row}`;
    throw invalid("ERR_SHAPE", name, `at most ${most} queries (its keys)`, count);
  }
}

function slotsOf(
  engine: Engine,
  inputs: Inputs,
  value: Slots | Int32Array | readonly number[] | undefined,
  slots: number,
): Slots | null {
  if (value === undefined) return null;
  if (!(value instanceof Slots)) {
    return inputs.temporary(new Slots(engine, value, slots, "keyIndex"));
  }
  if (value.engine !== engine) {
    throw invalid("ERR_OPTION", "keyIndex", "slots of this engine", "those of another engine");
  }
  if (value.bound > slots) {
    throw invalid("ERR_RANGE", "keyIndex", `slots below ${slots}`, value.bound);
  }
  return value;
}
