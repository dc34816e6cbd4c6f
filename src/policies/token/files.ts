import { join } from "node:path";
import type { Tokenizer } from "../../contract/index.js";
import type { Parameter } from "../../nn/parameter.js";
import { readSafetensors, type Safetensors } from "../../nn/safetensors.js";
import { policyPaths, readText, requireText, writeParameters, writeText } from "../policyFiles.js";
import type { TokenConfig } from "./config.js";
import { formatConfig, parseConfig } from "./configFile.js";
import { formatTokenizer, parseTokenizer } from "./tokenizerFiles.js";

/** A policy as it lies in a folder. */
export interface PolicyFiles {
  readonly config: TokenConfig;
  readonly tokenizer: Tokenizer | null;
  readonly weights: Safetensors;
  /** For messages. */
  readonly weightsPath: string;
}

function paths(directory: string) {
  return {
    ...policyPaths(directory),
    tokenizer: join(directory, "tokenizer.json"),
    tokenizerConfig: join(directory, "tokenizer_config.json"),
  };
}

/** @throws FiresteelError ERR_CHECKPOINT */
export async function writePolicy(
  directory: string,
  config: TokenConfig,
  parameters: readonly Parameter[],
  tokenizer: Tokenizer | null,
): Promise<void> {
  const at = paths(directory);
  await writeText(at.config, formatConfig(config, tokenizer?.endOfSequence ?? null));
  if (tokenizer !== null) {
    const texts = formatTokenizer(tokenizer);
    await writeText(at.tokenizer, texts.tokenizer);
    await writeText(at.tokenizerConfig, texts.config);
  }
  await writeParameters(at.weights, parameters);
}

/** @throws FiresteelError ERR_CHECKPOINT where a file is missing or damaged */
export async function readPolicy(directory: string): Promise<PolicyFiles> {
  const at = paths(directory);
  const config = await requireText(at.config);
  const tokenizer = await readText(at.tokenizer);
  const texts = {
    tokenizer: tokenizer ?? "",
    config: (await readText(at.tokenizerConfig)) ?? "{}",
  };
  return {
    config: parseConfig(config, at.config),
    tokenizer: tokenizer === null ? null : parseTokenizer(texts, at.tokenizer),
    weights: await readSafetensors(at.weights),
    weightsPath: at.weights,
  };
}
