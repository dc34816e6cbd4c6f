import type { Parameter } from "../parameter.js";
import type { Tape, Var } from "../tape.js";
import { Attention, type AttentionBatch, type AttentionOptions } from "./attention.js";
import type { Module, ParameterSource } from "./module.js";
import { RmsNorm } from "./rmsNorm.js";
import { SwigluMlp } from "./swigluMlp.js";

export interface DecoderLayerOptions extends AttentionOptions {
  /** Width of the gated hidden layer. */
  hidden: number;
}

/** x + attention(norm(x)), then x + mlp(norm(x)): the layer of Llama and Qwen. */
export class DecoderLayer implements Module {
  readonly inputNorm: RmsNorm;
  readonly attention: Attention;
  readonly postAttentionNorm: RmsNorm;
  readonly mlp: SwigluMlp;
  readonly #index: number;

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

  get parameters(): readonly Parameter[] {
    const parts = [this.inputNorm, this.attention, this.postAttentionNorm, this.mlp];
    return parts.flatMap((part) => part.parameters);
  }

  /** x [T, width]. */
  forward(tape: Tape, x: Var, batch: AttentionBatch): Var {
    return tape.scope(() => {
      const attended = this.attention.forward(
        tape,
        this.inputNorm.forward(tape, x),
        batch,
        this.#index,
      );
      const middle = tape.add(x, attended);
      const transformed = this.mlp.forward(tape, this.postAttentionNorm.forward(tape, middle));
      return tape.add(middle, transformed);
    });
  }
}
