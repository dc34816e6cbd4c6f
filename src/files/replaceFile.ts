import { rename } from "node:fs/promises";
import { dirname } from "node:path";
import { access } from "./access.js";
import { sync, type Text, writeSynced } from "./synced.js";

/**
 * Puts a text in the place of a file: whoever reads meanwhile, or after a loss of power, sees the whole old
 * one or the whole new one; once this resolves, the new one.
 *
 * @throws FiresteelError ERR_CHECKPOINT
 */
export async function replaceFile(path: string, text: Text): Promise<void> {
  const partial = `${path}.partial`;
  await access("a writable file", path, async () => {
    await writeSynced(partial, text);
    await rename(partial, path);
    await sync(dirname(path));
  });
}
