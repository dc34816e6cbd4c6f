import { FiresteelError } from "../engine/error.js";
import { fileLines } from "../files/fileLines.js";

/**
 * The lines of a file of JSON objects, one in memory at a time. A last line without its end is what a killed
 * process left, or one that is being written right now: it is left out.
 *
 * @throws FiresteelError ERR_OPTION naming the line that is none
 */
export async function* eachLine<T extends object>(path: string): AsyncGenerator<T> {
  for await (const { line, text, ended } of fileLines(path)) {
    if (!ended) return;
    const value = parsed(text);
    if (value !== null) {
      yield value as T;
      continue;
    }
    const message = `Expected a JSON object in line ${line} of ${path} but it is none`;
    throw new FiresteelError("ERR_OPTION", message);
  }
}

/** All of them. @throws FiresteelError ERR_OPTION naming the line that is none */
export async function readLines<T extends object>(path: string): Promise<T[]> {
  const lines: T[] = [];
  for await (const line of eachLine<T>(path)) lines.push(line);
  return lines;
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
