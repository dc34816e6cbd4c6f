import { existsSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { aPath, checkArguments } from "../engine/arguments.js";
import { FiresteelError } from "../engine/error.js";
import { checkpointRank, checkpointsByAge } from "../files/checkpointNames.js";
import { checkFiles, readState, stateFile } from "../files/checkpointState.js";

/**
 * The folder of the policy that a user means: the path itself, `policy` in a checkpoint's folder, or in
 * a run's folder that of its best checkpoint where `keepBest` left one, else of its newest. Where it lies
 * in a checkpoint every byte of it is checked.
 *
 * @throws FiresteelError ERR_CHECKPOINT where there is none, or a file of it is damaged
 */
export async function policyFolder(path: string): Promise<string> {
  checkArguments({ path }, { path: aPath });
  const found = await findPolicy(path);
  if (found !== null) {
    await checkPolicy(found);
    return found;
  }
  const what = existsSync(path) ? "there is none" : "it does not exist";
  throw new FiresteelError(
    "ERR_CHECKPOINT",
    `Expected a policy in ${path} (its config.json and weights, a checkpoint, or a run) but ${what}`,
  );
}

/** Checks a policy's files. @throws FiresteelError ERR_CHECKPOINT where it is a checkpoint's, and damaged */
export async function checkPolicy(folder: string): Promise<void> {
  const checkpoint = dirname(resolve(folder));
  if (checkpointRank(basename(checkpoint)) === null) return;
  if (!existsSync(join(checkpoint, stateFile))) return;
  await checkFiles(checkpoint, await readState(checkpoint), `${basename(folder)}/`);
}

/** The same, unchecked; null where there is none. */
export async function findPolicy(path: string): Promise<string | null> {
  for (const folder of [path, join(path, "policy")]) {
    if (existsSync(join(folder, "config.json"))) return folder;
  }
  const entries = await attempt(() => readdir(path));
  if (entries === null) return null;
  const best = entries.includes("best") ? await attempt(() => readlink(join(path, "best"))) : null;
  const newest = checkpointsByAge(entries).reverse();
  // One that has lost its config.json is damaged: an older one must not stand in for it.
  const found = [...(best === null ? [] : [best]), ...newest].find((name) =>
    existsSync(join(path, name)),
  );
  return found === undefined ? null : join(path, found, "policy");
}

/** null where there is no such folder or link, or none that may be read. */
async function attempt<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return null;
  }
}
