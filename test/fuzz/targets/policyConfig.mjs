import assert from "node:assert/strict";
import {
  flowModelType,
  formatFlowConfig,
  modelTypeOf,
  parseFlowConfig,
} from "../../../dist/policies/flow/config.js";
import { formatConfig, parseConfig } from "../../../dist/policies/token/configFile.js";
import { accepted } from "../refusal.mjs";

export const dictionary = [
  ...["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"],
  ...["num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta", "rms_norm_eps"],
  ...[
    "tie_word_embeddings",
    "max_position_embeddings",
    "torch_dtype",
    "bfloat16",
    "llama",
    "qwen3",
  ],
  ...[
    "rope_scaling",
    "rope_parameters",
    "firesteel-flow",
    "sample_size",
    "condition_size",
    "shift",
  ],
];

/** config.json of a policy: what is understood is written down as what is read again. */
export async function fuzz(bytes) {
  const text = bytes.toString("utf8");
  const type = await accepted(() => modelTypeOf(text, "config.json"));
  const [parse, format] =
    type === flowModelType ? [parseFlowConfig, formatFlowConfig] : [parseConfig, formatConfig];
  const config = await accepted(() => parse(text, "config.json"));
  if (config === null) return;
  assert.deepEqual(parse(format(config), "config.json"), config);
}
