import { rename, writeFile } from "node:fs/promises";

/** Puts a text in the place of a file: whoever reads meanwhile sees the whole old one or the whole new one. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const partial = `${path}.partial`;
  await writeFile(partial, text);
  await rename(partial, path);
}
