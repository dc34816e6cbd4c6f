import type { FlowShape } from "../../contract/index.js";
import { anObject, checkArguments } from "../../engine/arguments.js";
import { checkInteger, checkKeys, checkNumber, show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";

/** Shape of a conditional velocity network. */
export interface FlowConfig {
  /** Elements of a sample. */
  width: number;
  /** Numbers that describe what is asked for: classes one-hot, or features. */
  conditionWidth: number;
  hiddenSize: number;
  numLayers: number;
  /** Of the times at which it is sampled; 1: equal steps. */
  shift: number;
}

/** Names in config.json, beside `model_type`. */
const names = {
  width: "sample_size",
  conditionWidth: "condition_size",
  hiddenSize: "hidden_size",
  numLayers: "num_hidden_layers",
  shift: "shift",
} as const;

/** `model_type` of config.json. */
export const flowModelType = "firesteel-flow";

/** @throws FiresteelError ERR_OPTION, ERR_RANGE */
export function checkFlowConfig(config: FlowConfig): FlowConfig {
  checkKeys("config", config, Object.keys(names));
  checkInteger("width", config.width, 1, 2 ** 20);
  checkInteger("conditionWidth", config.conditionWidth, 1, 2 ** 20);
  checkInteger("hiddenSize", config.hiddenSize, 1, 2 ** 20);
  checkInteger("numLayers", config.numLayers, 1, 1024);
  checkNumber("shift", config.shift, 1e-3, 1e3);
  return config;
}

/** The network of a task's shape, sampled in equal steps. */
export function flowConfig(shape: FlowShape): FlowConfig {
  checkArguments({ shape }, { shape: anObject });
  const { width, conditionWidth, hidden, layers } = shape;
  const config = { width, conditionWidth, hiddenSize: hidden, numLayers: layers };
  return checkFlowConfig({ ...config, shift: 1 });
}

/** The text of config.json. */
export function formatFlowConfig(config: FlowConfig): string {
  const fields: Record<string, unknown> = { model_type: flowModelType, hidden_act: "silu" };
  for (const [ours, theirs] of Object.entries(names)) {
    fields[theirs] = config[ours as keyof FlowConfig];
  }
  return `${JSON.stringify({ ...fields, torch_dtype: "float32" }, null, 2)}\n`;
}

/**
 * The configuration that `formatFlowConfig` wrote.
 *
 * @param path for messages
 * @throws FiresteelError ERR_CHECKPOINT
 */
export function parseFlowConfig(text: string, path: string): FlowConfig {
  const modelType = modelTypeOf(text, path);
  if (modelType !== flowModelType) {
    const expected = `expected ${show(flowModelType)} for model_type but found`;
    throw new FiresteelError("ERR_CHECKPOINT", `${path}: ${expected} ${show(modelType)}`);
  }
  const fields = JSON.parse(text) as Record<string, unknown>;
  const config = Object.fromEntries(
    Object.entries(names).map(([ours, theirs]) => [ours, fields[theirs]]),
  );
  try {
    return checkFlowConfig(config as unknown as FlowConfig);
  } catch (cause) {
    const message = `${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}

/** What a config.json says it is; undefined where it says nothing. @throws FiresteelError ERR_CHECKPOINT */
export function modelTypeOf(text: string, path: string): unknown {
  try {
    const fields: unknown = JSON.parse(text);
    return (fields as Record<string, unknown> | null)?.model_type;
  } catch (cause) {
    const message = `${path}: it is not JSON (${(cause as Error).message})`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}
