import type { Engine } from "../../engine/engine.js";
import { FiresteelError } from "../../engine/error.js";
import type { Tensor } from "../../engine/tensor.js";
import type { AttentionBatch } from "../../nn/modules/attention.js";
import { DecoderLayer, type ResidualStream } from "../../nn/modules/decoderLayer.js";
import { Linear } from "../../nn/modules/linear.js";
import type { Module, ParameterSource } from "../../nn/modules/module.js";
import { RmsNorm } from "../../nn/modules/rmsNorm.js";
import type { Parameter } from "../../nn/parameter.js";
import type { Tape, Var } from "../../nn/tape.js";
import type { TokenConfig } from "./config.js";

const valueHeadName = "value_head";

/** Whether a weight is the value head's, which a checkpoint may lack. */
export function isValueHead(name: string): boolean {
  return name.startsWith(`${valueHeadName}.`);
}

/** A decoder-only transformer; weights have the names that Llama and Qwen checkpoints use. */
export class Transformer implements Module {
  readonly engine: Engine;
  readonly config: TokenConfig;
  readonly embedding: Parameter;
  readonly layers: readonly DecoderLayer[];
  readonly norm: RmsNorm;
  /** null where the embedding table serves as output projection. */
  readonly head: Parameter | null;
  /** Estimates the value of the state after a token; null where the configuration has none. */
  readonly valueHead: Linear | null;

  /** Where the source fails, the parameters it has made are freed. */
  static build(engine: Engine, config: TokenConfig, source: ParameterSource): Transformer {
    return engine.attempt(() => new Transformer(engine, config, source));
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
    this.valueHead = config.valueHead
      ? new Linear(source, {
          name: valueHeadName,
          inputs: hiddenSize,
          outputs: 1,
          bias: true,
          role: "value",
          dtype: "f32",
        })
      : null;
  }

  get parameters(): readonly Parameter[] {
    const parts: readonly Module[] = [...this.layers, this.norm];
    const inner = parts.flatMap((part) => part.parameters);
    const heads = [
      ...(this.head === null ? [] : [this.head]),
      ...(this.valueHead?.parameters ?? []),
    ];
    return [this.embedding, ...inner, ...heads];
  }

  /**
   * Logits after some of a batch's tokens.
   *
   * @param ids i32 [T]: packed tokens
   * @param rows i32 [N]: whose successors are wanted; only these meet the output projection
   * @returns f32 [N, vocabSize], whatever the weights
   */
  forward(tape: Tape, ids: Tensor, batch: AttentionBatch, rows: Tensor): Var {
    return tape.scope(() => this.#logits(tape, this.#hidden(tape, ids, batch, rows)));
  }

  /**
   * As `forward`, and the value head's estimates.
   *
   * @returns f32 [N, vocabSize] and f32 [N]
   * @throws FiresteelError ERR_OPTION where there is no value head
   */
  forwardBoth(
    tape: Tape,
    ids: Tensor,
    batch: AttentionBatch,
    rows: Tensor,
  ): { logits: Var; value: Var } {
    const { valueHead } = this;
    if (valueHead === null) {
      throw new FiresteelError("ERR_OPTION", "Expected a policy with a value head but it has none");
    }
    const [logits, value] = tape.scope((): [Var, Var] => {
      const hidden = this.#hidden(tape, ids, batch, rows);
      const column = valueHead.forward(tape, hidden);
      return [this.#logits(tape, hidden), tape.view(column, [rows.size])];
    });
    return { logits, value };
  }

  /** The normalised stream after some of a batch's tokens. */
  #hidden(tape: Tape, ids: Tensor, batch: AttentionBatch, rows: Tensor): Var {
    return tape.scope(() => {
      let hidden: ResidualStream = {
        stream: tape.rows(tape.parameter(this.embedding), ids),
        update: null,
      };
      for (const layer of this.layers) hidden = layer.forward(tape, hidden, batch);
      const stream = tape.rows(hidden.stream, rows);
      return hidden.update === null
        ? this.norm.forward(tape, stream)
        : this.norm.forwardSum(tape, tape.rows(hidden.update, rows), stream).y;
    });
  }

  #logits(tape: Tape, hidden: Var): Var {
    const head = tape.parameter(this.head ?? this.embedding);
    return tape.matmul(hidden, head, { transposeB: true, dtype: "f32" });
  }
}
