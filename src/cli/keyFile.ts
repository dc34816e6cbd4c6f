import { readFileSync } from "node:fs";
import { FiresteelError } from "../index.js";

/** A key on the first line of a file: not in the arguments, which other users can see. */
export function readKey(option: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const message = `Expected a readable file for ${option} but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
  const key = text.split("\n")[0]!.trim();
  if (key !== "") return key;
  throw new FiresteelError("ERR_OPTION", `Expected a key on the first line of ${path}`);
}
