import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const here = dirname(fileURLToPath(import.meta.url));

/** Most bytes of an input, where a target does not say otherwise. */
const MAX_LENGTH = 4096;

/** Every target: a file that exports `fuzz(bytes)`, and may export `maxLength` and `dictionary`. */
export const targetNames = readdirSync(join(here, "targets"))
  .filter((file) => file.endsWith(".mjs"))
  .map((file) => file.slice(0, -4))
  .sort();

export const targetPath = (name) => join(here, "targets", `${name}.mjs`);
export const corpusPath = (name) => join(here, "corpus", name);

export async function loadTarget(name) {
  const {
    fuzz,
    maxLength = MAX_LENGTH,
    dictionary = [],
  } = await import(pathToFileURL(targetPath(name)).href);
  return { fuzz, maxLength, dictionary };
}

/** The kept inputs of a target by file name. */
export function keptInputs(name) {
  return readdirSync(corpusPath(name))
    .sort()
    .map((file) => ({ file, bytes: readFileSync(join(corpusPath(name), file)) }));
}
