import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import { Attention, type AttentionBatch, type AttentionOptions } from "./attention.js";
import type { Module, ParameterSource } from "./module.js";
import { RmsNorm } from "./rmsNorm.js";
import { SwigluMlp } from "./swigluMlp.js";

/** Sizes of a decoder layer. */
export interface DecoderLayerOptions extends AttentionOptions {
  /** Width of the gated hidden layer. */
  hidden: number;
}

/**
 * The residual stream between two layers: its value is `stream` + `update`. The last block's output is
 * added by whoever normalises the stream next, in the pass that reads it anyway.
 */
export interface ResidualStream {
  readonly stream: Var;
  /** null before the first layer. */
  readonly update: Var | null;
}

/** x + attention(norm(x)), then x + mlp(norm(x)): the layer of Llama and Qwen. */
export class DecoderLayer implements Module {
  readonly inputNorm: RmsNorm;
  readonly attention: Attention;
  readonly postAttentionNorm: RmsNorm;
  readonly mlp: SwigluMlp;
  readonly #index: number;

  /**
   * @param source makes the parameters, under the names of Hugging Face's Llama and Qwen below NAME
   * @param index of the layer: whose part of a cache it reads
   */
  constructor(source: ParameterSource, name: string, index: number, options: DecoderLayerOptions) {
    const { width, hidden, normEps } = options;
    this.inputNorm = new RmsNorm(source, `${name}.input_layernorm`, width, normEps);
    this.attention = new Attention(source, `${name}.self_attn`, options);
    this.postAttentionNorm = new RmsNorm(
      source,
      `${name}.post_attention_layernorm`,
      width,
      normEps,
    );
    this.mlp = new SwigluMlp(source, `${name}.mlp`, width, hidden);
    this.#index = index;
  }

  /** Its weights, in a fixed order. */
  get parameters(): readonly Parameter[] {
    const parts = [this.inputNorm, this.attention, this.postAttentionNorm, this.mlp];
    return parts.flatMap((part) => part.parameters);
  }

  /** A stream [T, width] to that after the layer. */
  forward(tape: Tape, { stream, update }: ResidualStream, batch: AttentionBatch): ResidualStream {
    const [middle, transformed] = tape.scope((): [Var, Var] => {
      const entered =
        update === null
          ? { sum: stream, y: this.inputNorm.forward(tape, stream) }
          : this.inputNorm.forwardSum(tape, update, stream);
      const attended = this.attention.forward(tape, entered.y, batch, this.#index);
      const { sum, y } = this.postAttentionNorm.forwardSum(tape, attended, entered.sum);
      return [sum, this.mlp.forward(tape, y)];
    });
    return { stream: middle, update: transformed };
  }
}
