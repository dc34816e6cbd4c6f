import { describe, expect, it } from "vitest";
import { tinyConfig } from "../../src/policies/token/config.js";
import { formatConfig, parseConfig } from "../../src/policies/token/configFile.js";

const tiny = tinyConfig(16);

describe("config.json", () => {
  it.each([
    [false, false, "llama"],
    [false, true, "qwen2"],
    [true, false, "qwen3"],
    [true, true, "firesteel"],
  ])("comes back as it was (qkNorm %s, attentionBias %s)", (qkNorm, attentionBias, type) => {
    const config = { ...tiny, qkNorm, attentionBias, numKvHeads: 1, tieWordEmbeddings: true };
    const text = formatConfig(config);
    expect(JSON.parse(text).model_type).toBe(type);
    expect(parseConfig(text, "config.json")).toEqual(config);
  });

  it.each([
    ["torch_dtype", "bfloat16", "bf16"],
    ["dtype", "bfloat16", "bf16"],
    ["torch_dtype", "float16", "f32"],
    ["torch_dtype", undefined, "f32"],
  ])("takes the type of the weights from %s %s: %s", (field, theirs, ours) => {
    const { torch_dtype, ...fields } = JSON.parse(formatConfig({ ...tiny, dtype: "bf16" }));
    expect(torch_dtype).toBe("bfloat16");
    expect(parseConfig(JSON.stringify({ ...fields, [field]: theirs }), "config.json").dtype).toBe(
      ours,
    );
  });

  it("has the defaults of Hugging Face where a field is left out", () => {
    const { head_dim, num_key_value_heads, ...fields } = JSON.parse(formatConfig(tiny));
    const config = parseConfig(JSON.stringify(fields), "config.json");
    expect([config.headDim, config.numKvHeads]).toEqual([head_dim, num_key_value_heads]);
  });

  it.each([
    [{ model_type: "gpt2" }, "model_type"],
    [{ model_type: "__proto__" }, "model_type"],
    [{ rope_scaling: { rope_type: "yarn" } }, "rope_scaling"],
    [{ use_sliding_window: true }, "use_sliding_window"],
    [{ hidden_act: "gelu" }, "hidden_act"],
    [{ attention_bias: true }, "attention_bias"],
    [{ mlp_bias: true }, "mlp_bias"],
    [{ vocab_size: 0 }, "vocabSize"],
    [{ vocab_size: "16" }, "vocabSize"],
    [{ num_hidden_layers: undefined }, "numLayers"],
    [{ rope_theta: undefined }, "ropeTheta"],
    [{ num_key_value_heads: 3 }, "numKvHeads"],
    [{ head_dim: 3 }, "headDim"],
    [{ head_dim: 258 }, "headDim"],
    [{ rms_norm_eps: 0 }, "rmsNormEps"],
    [{ tie_word_embeddings: 1 }, "tieWordEmbeddings"],
  ])("is refused with %j", (change, name) => {
    const fields = { ...JSON.parse(formatConfig(tiny)), ...change };
    expect(() => parseConfig(JSON.stringify(fields), "config.json")).toThrow(
      expect.objectContaining({
        code: "ERR_CHECKPOINT",
        message: expect.stringMatching(new RegExp(`config.json: .*${name}`)),
      }),
    );
  });

  it.each(["", "[", "null", "7"])("is refused when it is %j", (text) => {
    expect(() => parseConfig(text, "config.json")).toThrow(
      expect.objectContaining({ code: "ERR_CHECKPOINT" }),
    );
  });
});
