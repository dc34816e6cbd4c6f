import type { Engine } from "../../engine/engine.js";
import type { Tensor } from "../../engine/tensor.js";
import type { AttentionBatch } from "../../nn/modules/attention.js";
import { DecoderLayer, type ResidualStream } from "../../nn/modules/decoderLayer.js";
import type { Module, ParameterSource } from "../../nn/modules/module.js";
import { RmsNorm } from "../../nn/modules/rmsNorm.js";
import type { Parameter } from "../../nn/parameter.js";
import type { Tape, Var } from "../../nn/tape.js";
import type { TokenConfig } from "./config.js";

/** A decoder-only transformer; weights have the names that Llama and Qwen checkpoints use. */
export class Transformer implements Module {
  readonly engine: Engine;
  readonly config: TokenConfig;
  readonly embedding: Parameter;
  readonly layers: readonly DecoderLayer[];
  readonly norm: RmsNorm;
  /** null where the embedding table serves as output projection. */
  readonly head: Parameter | null;

  /** Where the source fails, the parameters it has made are freed. */
  static build(engine: Engine, config: TokenConfig, source: ParameterSource): Transformer {
    const made: Parameter[] = [];
    try {
      return new Transformer(engine, config, (spec) => {
        made.push(source(spec));
        return made.at(-1)!;
      });
    } catch (error) {
      for (const parameter of made) parameter.dispose();
      throw error;
    }
  }

  private constructor(engine: Engine, config: TokenConfig, source: ParameterSource) {
    const { vocabSize, hiddenSize } = config;
    this.engine = engine;
    this.config = config;
    this.embedding = source({
      name: "model.embed_tokens.weight",
      shape: [vocabSize, hiddenSize],
      role: "embedding",
    });
    this.layers = Array.from({ length: config.numLayers }, (_, i) => {
      return new DecoderLayer(source, `model.layers.${i}`, i, {
        width: hiddenSize,
        hidden: config.intermediateSize,
        heads: config.numHeads,
        kvHeads: config.numKvHeads,
        headDim: config.headDim,
        ropeBase: config.ropeTheta,
        qkNorm: config.qkNorm,
        normEps: config.rmsNormEps,
        bias: config.attentionBias,
      });
    });
    this.norm = new RmsNorm(source, "model.norm", hiddenSize, config.rmsNormEps);
    this.head = config.tieWordEmbeddings
      ? null
      : source({ name: "lm_head.weight", shape: [vocabSize, hiddenSize], role: "projection" });
  }

  get parameters(): readonly Parameter[] {
    const parts: readonly Module[] = [...this.layers, this.norm];
    const inner = parts.flatMap((part) => part.parameters);
    return [this.embedding, ...inner, ...(this.head === null ? [] : [this.head])];
  }

  /**
   * Logits after some of a batch's tokens.
   *
   * @param ids i32 [T]: packed tokens
   * @param rows i32 [N]: whose successors are wanted; only these meet the output projection
   * @returns f32 [N, vocabSize], whatever the weights
   */
  forward(tape: Tape, ids: Tensor, batch: AttentionBatch, rows: Tensor): Var {
    return tape.scope(() => {
      let hidden: ResidualStream = {
        stream: tape.rows(tape.parameter(this.embedding), ids),
        update: null,
      };
      for (const layer of this.layers) hidden = layer.forward(tape, hidden, batch);
      const stream = tape.rows(hidden.stream, rows);
      const last =
        hidden.update === null
          ? this.norm.forward(tape, stream)
          : this.norm.forwardSum(tape, tape.rows(hidden.update, rows), stream).y;
      const head = tape.parameter(this.head ?? this.embedding);
      return tape.matmul(last, head, { transposeB: true, dtype: "f32" });
    });
  }
}
