import { scatterRows } from "../../engine/nn/embed.js";
import type { Offsets, Slots } from "../../engine/offsets.js";
import type { Tensor } from "../../engine/tensor.js";
import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import { Linear } from "./linear.js";
import type { Module, ParameterSource } from "./module.js";
import { RmsNorm } from "./rmsNorm.js";

/** Sizes of an attention block; `width` is the residual stream's. */
export interface AttentionOptions {
  /** Of what comes in and goes out. */
  width: number;
  /** Of queries. */
  heads: number;
  /** Of keys and values; divides heads. */
  kvHeads: number;
  /** Even, at most 256 in f32, 128 in 16 bits. */
  headDim: number;
  /** Angle i of the rotary embedding is position * ropeBase^(-2 i / headDim). */
  ropeBase: number;
  /** Normalise each head's queries and keys (Qwen3). */
  qkNorm: boolean;
  /** Of those norms, inside the root. */
  normEps: number;
  /** Biases of the query, key and value projections (Qwen2). */
  bias: boolean;
}

/** Where the tokens of a packed batch stand, and what they attend to. T tokens, R rows. */
export interface AttentionBatch {
  /** i32 [T]: position in its row. */
  readonly positions: Tensor;
  /** The rows of the packed tokens. */
  readonly rowOffsets: Offsets;
  /** Where keys and values are kept between calls; null: the tokens see their own row only. */
  readonly cache: LayeredCache | null;
}

/** A cache, and where this batch's tokens stand in it. */
export interface LayeredCache {
  /** One pair per layer, in the type of the activations, [slots, kvHeads, headDim]. */
  readonly layers: readonly { readonly key: Tensor; readonly value: Tensor }[];
  /** i32 [T]: the slot of every token of the batch. */
  readonly slots: Tensor;
  /** Every row's keys, those of this batch among them. */
  readonly keyOffsets: Offsets;
  readonly keyIndex: Slots;
}

/** Causal self-attention with rotary positions and grouped key/value heads. */
export class Attention implements Module {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly output: Linear;
  readonly queryNorm: RmsNorm | null;
  readonly keyNorm: RmsNorm | null;
  readonly #options: AttentionOptions;

  /** @param source makes NAME.q_proj, k_proj, v_proj, o_proj and, where asked for, q_norm and k_norm */
  constructor(source: ParameterSource, name: string, options: AttentionOptions) {
    const { width, heads, kvHeads, headDim, bias, normEps } = options;
    const project = (part: string, outputs: number) =>
      new Linear(source, { name: `${name}.${part}`, inputs: width, outputs, bias });
    this.query = project("q_proj", heads * headDim);
    this.key = project("k_proj", kvHeads * headDim);
    this.value = project("v_proj", kvHeads * headDim);
    this.output = new Linear(source, {
      name: `${name}.o_proj`,
      inputs: heads * headDim,
      outputs: width,
      role: "residual",
    });
    const norm = (part: string) => new RmsNorm(source, `${name}.${part}`, headDim, normEps);
    this.queryNorm = options.qkNorm ? norm("q_norm") : null;
    this.keyNorm = options.qkNorm ? norm("k_norm") : null;
    this.#options = options;
  }

  /** Its weights, in a fixed order. */
  get parameters(): readonly Parameter[] {
    const { query, key, value, output, queryNorm, keyNorm } = this;
    const parts = [query, key, value, output, queryNorm, keyNorm];
    return parts.flatMap((part) => part?.parameters ?? []);
  }

  /** x [T, width] to [T, width]; `layer` says whose part of the cache this is. */
  forward(tape: Tape, x: Var, batch: AttentionBatch, layer: number): Var {
    const { heads, kvHeads, headDim } = this.#options;
    const tokens = x.value.shape[0]!;
    const q = this.#rotated(tape, this.query.forward(tape, x), heads, this.queryNorm, batch);
    const k = this.#rotated(tape, this.key.forward(tape, x), kvHeads, this.keyNorm, batch);
    const v = tape.view(this.value.forward(tape, x), [tokens, kvHeads, headDim]);
    const mixed =
      batch.cache === null
        ? tape.attention(q, k, v, batch.rowOffsets)
        : this.#cached(tape, q, k, v, batch.rowOffsets, batch.cache, layer);
    return this.output.forward(tape, tape.view(mixed, [tokens, heads * headDim]));
  }

  #rotated(
    tape: Tape,
    x: Var,
    heads: number,
    norm: RmsNorm | null,
    { positions }: AttentionBatch,
  ): Var {
    const { headDim, ropeBase } = this.#options;
    const split = tape.view(x, [x.value.shape[0]!, heads, headDim]);
    const normed = norm === null ? split : norm.forward(tape, split);
    return tape.rope(normed, positions, ropeBase);
  }

  #cached(
    tape: Tape,
    q: Var,
    k: Var,
    v: Var,
    queryOffsets: Offsets,
    cache: LayeredCache,
    layer: number,
  ): Var {
    const { key, value } = cache.layers[layer]!;
    scatterRows(tape.engine, k.value, cache.slots, key);
    scatterRows(tape.engine, v.value, cache.slots, value);
    const { keyOffsets, keyIndex } = cache;
    return tape.cachedAttention(q, queryOffsets, { key, value, keyOffsets, keyIndex });
  }
}
