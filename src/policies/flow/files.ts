import type { Parameter } from "../../nn/parameter.js";
import { readSafetensors, type Safetensors } from "../../nn/safetensors.js";
import { policyPaths, requireText, writeParameters, writeText } from "../policyFiles.js";
import { type FlowConfig, formatFlowConfig, parseFlowConfig } from "./config.js";

/** A policy as it lies in a folder. */
export interface FlowPolicyFiles {
  readonly config: FlowConfig;
  readonly weights: Safetensors;
  /** For messages. */
  readonly weightsPath: string;
}

/** @throws FiresteelError ERR_CHECKPOINT */
export async function writeFlowPolicy(
  directory: string,
  config: FlowConfig,
  parameters: readonly Parameter[],
): Promise<void> {
  const at = policyPaths(directory);
  await writeText(at.config, formatFlowConfig(config));
  await writeParameters(at.weights, parameters);
}

/** @throws FiresteelError ERR_CHECKPOINT where a file is missing or damaged */
export async function readFlowPolicy(directory: string): Promise<FlowPolicyFiles> {
  const at = policyPaths(directory);
  return {
    config: parseFlowConfig(await requireText(at.config), at.config),
    weights: await readSafetensors(at.weights),
    weightsPath: at.weights,
  };
}
