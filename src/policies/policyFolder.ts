import { existsSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { aPath, checkArguments } from "../engine/arguments.js";
import { FiresteelError } from "../engine/error.js";
import { checkpointsByAge } from "../files/checkpointNames.js";

/**
 * The folder of the policy that a user means: the path itself, `policy` in a checkpoint's folder, or in
 * a run's folder that of its best checkpoint where `keepBest` left one, else of its newest.
 *
 * @throws FiresteelError ERR_CHECKPOINT where there is none
 */
export async function policyFolder(path: string): Promise<string> {
  checkArguments({ path }, { path: aPath });
  const found = await findPolicy(path);
  if (found !== null) return found;
  const what = existsSync(path) ? "there is none" : "it does not exist";
  throw new FiresteelError(
    "ERR_CHECKPOINT",
    `Expected a policy in ${path} (its config.json and weights, a checkpoint, or a run) but ${what}`,
  );
}

/** The same; null where there is none. */
export async function findPolicy(path: string): Promise<string | null> {
  for (const folder of [path, join(path, "policy")]) {
    if (existsSync(join(folder, "config.json"))) return folder;
  }
  const entries = await attempt(() => readdir(path));
  if (entries === null) return null;
  const best = entries.includes("best") ? await attempt(() => readlink(join(path, "best"))) : null;
  const newest = checkpointsByAge(entries).reverse();
  const folders = [...(best === null ? [] : [best]), ...newest].map((name) =>
    join(path, name, "policy"),
  );
  return folders.find((folder) => existsSync(join(folder, "config.json"))) ?? null;
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
