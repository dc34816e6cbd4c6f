import { show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { checkTokenConfig, type TokenConfig } from "./config.js";

/** Names in config.json, as Hugging Face has them. */
const names = {
  vocabSize: "vocab_size",
  hiddenSize: "hidden_size",
  intermediateSize: "intermediate_size",
  numLayers: "num_hidden_layers",
  numHeads: "num_attention_heads",
  numKvHeads: "num_key_value_heads",
  headDim: "head_dim",
  ropeTheta: "rope_theta",
  rmsNormEps: "rms_norm_eps",
  tieWordEmbeddings: "tie_word_embeddings",
  maxLength: "max_position_embeddings",
  initializerRange: "initializer_range",
  valueHead: "value_head",
} as const;

/** What each architecture means by its name. */
const architectures: Readonly<Record<string, Pick<TokenConfig, "qkNorm" | "attentionBias">>> = {
  llama: { qkNorm: false, attentionBias: false },
  qwen2: { qkNorm: false, attentionBias: true },
  qwen3: { qkNorm: true, attentionBias: false },
  firesteel: { qkNorm: true, attentionBias: true },
};

/** Fields of other checkpoints that change the network: only these values can be honoured. */
const required: Readonly<Record<string, unknown>> = {
  hidden_act: "silu",
  rope_scaling: null,
  use_sliding_window: false,
  mlp_bias: false,
  attention_bias: false,
};

/**
 * The text of config.json.
 *
 * @param endOfSequence written down for others; our own policies take it from their tokenizer
 */
export function formatConfig(config: TokenConfig, endOfSequence: number | null = null): string {
  const [modelType] = Object.entries(architectures).find(
    ([, has]) => has.qkNorm === config.qkNorm && has.attentionBias === config.attentionBias,
  )!;
  const fields: Record<string, unknown> = { model_type: modelType, hidden_act: "silu" };
  for (const [ours, theirs] of Object.entries(names)) {
    fields[theirs] = config[ours as keyof typeof names];
  }
  if (endOfSequence !== null) fields.eos_token_id = endOfSequence;
  fields.torch_dtype = config.dtype === "bf16" ? "bfloat16" : "float32";
  return `${JSON.stringify(fields, null, 2)}\n`;
}

/**
 * A configuration from the text of config.json (Llama, Qwen2, Qwen3, or written by `formatConfig`).
 * Its dtype is bf16 where `torch_dtype` (or `dtype`, as newer files have it) is bfloat16, else f32.
 *
 * @param path for messages
 * @throws FiresteelError ERR_CHECKPOINT where a field is missing, damaged or cannot be honoured
 */
export function parseConfig(text: string, path: string): TokenConfig {
  const fail = (reason: string, cause?: unknown) =>
    new FiresteelError("ERR_CHECKPOINT", `${path}: ${reason}`, { cause });
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text);
  } catch (cause) {
    throw fail(`it is not JSON (${(cause as Error).message})`, cause);
  }
  if (typeof fields !== "object" || fields === null) throw fail("it is not a JSON object");
  const modelType = fields.model_type;
  if (typeof modelType !== "string" || !Object.hasOwn(architectures, modelType)) {
    const known = Object.keys(architectures).join(", ");
    throw fail(`expected one of ${known} for model_type but found ${show(modelType)}`);
  }
  for (const [name, value] of Object.entries(required)) {
    if (fields[name] !== undefined && fields[name] !== value) {
      throw fail(`expected ${show(value)} for ${name} but found ${show(fields[name])}`);
    }
  }
  const config: Record<string, unknown> = { ...architectures[modelType] };
  for (const [ours, theirs] of Object.entries(names)) config[ours] = fields[theirs];
  config.numKvHeads ??= config.numHeads;
  config.headDim ??= (config.hiddenSize as number) / (config.numHeads as number);
  config.tieWordEmbeddings ??= false;
  config.valueHead ??= false;
  config.initializerRange ??= 0.02;
  config.dtype = (fields.torch_dtype ?? fields.dtype) === "bfloat16" ? "bf16" : "f32";
  try {
    return checkTokenConfig(config as unknown as TokenConfig);
  } catch (cause) {
    throw fail((cause as Error).message, cause);
  }
}
