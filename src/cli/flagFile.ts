import { readFileSync } from "node:fs";
import { FiresteelError } from "../index.js";

/** The text of the file that a flag names. @throws FiresteelError ERR_OPTION */
export function readFlagFile(flag: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const message = `Expected a readable file for ${flag} but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
}

/** A key on the first line of a file: not in the arguments, which other users can see. */
export function readKey(flag: string, path: string): string {
  const key = readFlagFile(flag, path).split("\n")[0]!.trim();
  if (key !== "") return key;
  throw new FiresteelError("ERR_OPTION", `Expected a key on the first line of ${path}`);
}

/** The object in a file. @throws FiresteelError ERR_OPTION where it is none */
export function readJsonObject(flag: string, path: string): object {
  const text = readFlagFile(flag, path);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch (cause) {
    const message = `Expected a readable JSON file for ${flag} but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
  throw new FiresteelError("ERR_OPTION", `Expected a JSON object in ${path}`);
}
