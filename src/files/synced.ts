import { open } from "node:fs/promises";

/** Text, whole or in pieces. */
export type Text = string | Iterable<string> | AsyncIterable<string>;

/** Writes a text file, which is on the disk when this resolves; a megabyte in memory at a time. */
export async function writeSynced(path: string, text: Text): Promise<void> {
  const file = await open(path, "w");
  try {
    let pending = "";
    for await (const piece of typeof text === "string" ? [text] : text) {
      pending += piece;
      if (pending.length < 2 ** 20) continue;
      await file.writeFile(pending);
      pending = "";
    }
    if (pending !== "") await file.writeFile(pending);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Brings a file, or the entries of a folder, to the disk: a rename lasts once its folder is synced. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
