import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Policy } from "../contract/policy.js";
import { aFunction, aPath, checkArguments, withFields } from "../engine/arguments.js";
import { checkInteger } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { sync, writeSynced } from "../files/synced.js";
import {
  fingerprintOf,
  formatPointer,
  type PublishedWeights,
  pointerFile,
  publishedWeights,
  recordFiles,
  weightsFolder,
} from "./publishedWeights.js";

/**
 * Writes a policy's weights for other processes on the same disk: into a folder of their own, named in
 * `weights.json` once every byte is synced. Whoever reads meanwhile finds the weights before; these are
 * kept until the next ones are published. One process at a time may publish into a directory.
 *
 * @param directory made where it does not exist
 * @param version optimiser steps that the weights have seen
 * @throws FiresteelError ERR_CHECKPOINT where the disk refuses, ERR_RANGE
 * @example
 * await publishWeights("weights", 12, policy); // firesteel serve --policy weights
 */
export async function publishWeights(
  directory: string,
  version: number,
  policy: Pick<Policy, "save">,
): Promise<PublishedWeights> {
  checkArguments(
    { directory, policy },
    { directory: aPath, policy: withFields({ save: aFunction }) },
  );
  checkInteger("version", version, 0, Number.MAX_SAFE_INTEGER);
  const folder = `weights-${version}-${randomBytes(4).toString("hex")}`;
  const path = join(directory, folder);
  try {
    await mkdir(path, { recursive: true });
    // A damaged weights.json names nothing that anybody could be reading.
    const before = await publishedWeights(directory).catch(() => null);
    await policy.save(path);
    const files = await recordFiles(path);
    await sync(path);
    const partial = join(directory, `.${pointerFile}.partial`);
    await writeSynced(partial, formatPointer(version, folder, files));
    await rename(partial, join(directory, pointerFile));
    await sync(directory);
    await removeOthers(directory, [path, before?.folder]);
    return { version, fingerprint: fingerprintOf(files), folder: path, files };
  } catch (cause) {
    if (cause instanceof FiresteelError) throw cause;
    const message = `Could not publish weights in ${directory}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}

/** Weights that nobody reads any more, and what a killed process left half-written. */
async function removeOthers(
  directory: string,
  kept: readonly (string | undefined)[],
): Promise<void> {
  for (const entry of await readdir(directory)) {
    const path = join(directory, entry);
    if (!weightsFolder.test(entry) || kept.includes(path)) continue;
    await rm(path, { recursive: true, force: true });
  }
}
