import { readFile } from "node:fs/promises";
import { FiresteelError } from "../engine/error.js";
import { access } from "../files/access.js";

/**
 * The lines of a file of JSON objects. A last line without its end is what a killed process left, or
 * one that is being written right now: it is left out.
 *
 * @throws FiresteelError ERR_OPTION naming the line that is none
 */
export async function readLines<T extends object>(path: string): Promise<T[]> {
  const text = await access("a readable file", path, () => readFile(path, "utf8"));
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line, i) => {
    const value = parsed(line);
    if (value !== null) return value as T;
    const message = `Expected a JSON object in line ${i + 1} of ${path} but it is none`;
    throw new FiresteelError("ERR_OPTION", message);
  });
}

/** The object of a line; null where the line is no whole one. */
export function parsed(line: string): object | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
