import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { sync } from "./synced.js";

/**
 * Makes a folder with its parents where it is not there, to last through a loss of power.
 *
 * @param path absolute
 */
export async function makeFolder(path: string): Promise<void> {
  const parent = dirname(path);
  // Node's recursive mkdir never returns where /proc refuses a folder (ENOENT).
  if (parent !== path && !existsSync(parent)) await makeFolder(parent);
  if (existsSync(path)) return;
  await mkdir(path);
  await sync(parent);
}
