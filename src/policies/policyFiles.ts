import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { FiresteelError } from "../engine/error.js";
import { writeSynced } from "../files/synced.js";
import type { Parameter } from "../nn/parameter.js";
import { writeSafetensors } from "../nn/safetensors.js";

/** Where a policy of any kind lies in its folder. */
export function policyPaths(directory: string) {
  return {
    config: join(directory, "config.json"),
    weights: join(directory, "model.safetensors"),
  };
}

/** Every parameter under its name. @throws FiresteelError ERR_CHECKPOINT */
export async function writeParameters(
  path: string,
  parameters: readonly Parameter[],
): Promise<void> {
  const tensors = await Promise.all(
    parameters.map(async ({ name, value }) => {
      const { shape, dtype } = value;
      return [name, { dtype, shape, data: await value.read() }] as const;
    }),
  );
  await writeSafetensors(path, tensors, { format: "pt" });
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

/** @throws FiresteelError ERR_CHECKPOINT also where there is no such file */
export async function requireText(path: string): Promise<string> {
  const text = await readText(path);
  if (text === null) throw new FiresteelError("ERR_CHECKPOINT", `${path} does not exist`);
  return text;
}

/** A folder's policy is another one than the weights are wanted for. */
export function misfit(directory: string, reason: string): FiresteelError {
  return new FiresteelError("ERR_CHECKPOINT", `The policy in ${directory} does not fit: ${reason}`);
}

function unusable(path: string, cause: unknown): FiresteelError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new FiresteelError("ERR_CHECKPOINT", `${path}: ${reason}`, { cause });
}
