import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tokenizer } from "../../contract/index.js";
import { FiresteelError } from "../../engine/error.js";
import { writeSynced } from "../../files/synced.js";
import type { Parameter } from "../../nn/parameter.js";
import { readSafetensors, type Safetensors, writeSafetensors } from "../../nn/safetensors.js";
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
    config: join(directory, "config.json"),
    weights: join(directory, "model.safetensors"),
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
  const tensors = await Promise.all(
    parameters.map(async ({ name, value }) => {
      const { shape, dtype } = value;
      return [name, { dtype, shape, data: await value.read() }] as const;
    }),
  );
  await writeSafetensors(at.weights, tensors, { format: "pt" });
}

/** @throws FiresteelError ERR_CHECKPOINT where a file is missing or damaged */
export async function readPolicy(directory: string): Promise<PolicyFiles> {
  const at = paths(directory);
  const config = await readText(at.config);
  if (config === null) throw new FiresteelError("ERR_CHECKPOINT", `${at.config} does not exist`);
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

/** Writes and syncs to the disk. @throws FiresteelError ERR_CHECKPOINT */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await writeSynced(path, text);
  } catch (cause) {
    throw unusable(path, cause);
  }
}

/** null where there is no such file. @throws FiresteelError ERR_CHECKPOINT */
export async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw unusable(path, cause);
  }
}

function unusable(path: string, cause: unknown): FiresteelError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new FiresteelError("ERR_CHECKPOINT", `${path}: ${reason}`, { cause });
}
