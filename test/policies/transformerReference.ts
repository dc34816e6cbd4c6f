import type { TokenConfig } from "../../src/policies/token/config.js";
import { attention } from "../../src/reference/attention.js";
import { gatherRows } from "../../src/reference/embed.js";
import { matmul } from "../../src/reference/matmul.js";
import { rmsNorm } from "../../src/reference/rmsNorm.js";
import { rope } from "../../src/reference/rope.js";
import { swiglu } from "../../src/reference/swiglu.js";

type Weights = ReadonlyMap<string, ArrayLike<number>>;

/** Logits [T, vocab] after every token of one row, in float64: Llama, Qwen2 and Qwen3 by name. */
export function logitsOf(weights: Weights, config: TokenConfig, ids: readonly number[]) {
  const { hiddenSize, intermediateSize, numHeads, numKvHeads, headDim, rmsNormEps } = config;
  const T = ids.length;
  const positions = ids.map((_, i) => i);
  const get = (name: string) => weights.get(name)!;
  const linear = (name: string, x: Float64Array, inputs: number, outputs: number) => {
    const shape = { m: T, n: outputs, k: inputs, transposeB: true };
    const y = matmul(x, get(`${name}.weight`), shape);
    const bias = weights.get(`${name}.bias`);
    return bias === undefined ? y : y.map((value, i) => value + bias[i % outputs]!);
  };
  const norm = (name: string, x: Float64Array) => rmsNorm(x, get(`${name}.weight`), rmsNormEps).y;

  let x = gatherRows(get("model.embed_tokens.weight"), hiddenSize, ids);
  for (let layer = 0; layer < config.numLayers; ++layer) {
    const at = `model.layers.${layer}`;
    const before = norm(`${at}.input_layernorm`, x);
    const project = (part: string, heads: number) =>
      linear(`${at}.self_attn.${part}_proj`, before, hiddenSize, heads * headDim);
    const rotated = (part: string, heads: number) => {
      const y = project(part, heads);
      const normed = config.qkNorm ? norm(`${at}.self_attn.${part}_norm`, y) : y;
      return rope(normed, positions, { heads, headDim, base: config.ropeTheta });
    };
    const mixed = attention(
      rotated("q", numHeads),
      rotated("k", numKvHeads),
      project("v", numKvHeads),
      {
        heads: numHeads,
        kvHeads: numKvHeads,
        headDim,
        queryOffsets: [0, T],
        keyOffsets: [0, T],
      },
    );
    x = sum(x, linear(`${at}.self_attn.o_proj`, mixed, numHeads * headDim, hiddenSize));
    const between = norm(`${at}.post_attention_layernorm`, x);
    const gate = linear(`${at}.mlp.gate_proj`, between, hiddenSize, intermediateSize);
    const up = linear(`${at}.mlp.up_proj`, between, hiddenSize, intermediateSize);
    const gated = swiglu(gate, up);
    x = sum(x, linear(`${at}.mlp.down_proj`, gated, intermediateSize, hiddenSize));
  }
  const head = config.tieWordEmbeddings ? "model.embed_tokens" : "lm_head";
  return linear(head, norm("model.norm", x), hiddenSize, config.vocabSize);
}

function sum(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]!);
}
