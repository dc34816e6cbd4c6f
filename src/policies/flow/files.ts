import { join } from "node:path";
import { FiresteelError } from "../../engine/error.js";
import type { Parameter } from "../../nn/parameter.js";
import { readSafetensors, type Safetensors, writeSafetensors } from "../../nn/safetensors.js";
import { readText, writeText } from "../token/files.js";
import { type FlowConfig, formatFlowConfig, parseFlowConfig } from "./config.js";

/** A policy as it lies in a folder. */
export interface FlowPolicyFiles {
  readonly config: FlowConfig;
  readonly weights: Safetensors;
  /** For messages. */
  readonly weightsPath: string;
}

function paths(directory: string) {
  return {
    config: join(directory, "config.json"),
    weights: join(directory, "model.safetensors"),
  };
}

/** @throws FiresteelError ERR_CHECKPOINT */
export async function writeFlowPolicy(
  directory: string,
  config: FlowConfig,
  parameters: readonly Parameter[],
): Promise<void> {
  const at = paths(directory);
  await writeText(at.config, formatFlowConfig(config));
  const tensors = await Promise.all(
    parameters.map(async ({ name, value }) => {
      const { shape, dtype } = value;
      return [name, { dtype, shape, data: await value.read() }] as const;
    }),
  );
  await writeSafetensors(at.weights, tensors, { format: "pt" });
}

/** @throws FiresteelError ERR_CHECKPOINT where a file is missing or damaged */
export async function readFlowPolicy(directory: string): Promise<FlowPolicyFiles> {
  const at = paths(directory);
  const config = await readText(at.config);
  if (config === null) throw new FiresteelError("ERR_CHECKPOINT", `${at.config} does not exist`);
  return {
    config: parseFlowConfig(config, at.config),
    weights: await readSafetensors(at.weights),
    weightsPath: at.weights,
  };
}
