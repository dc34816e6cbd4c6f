import type { z } from "zod";
import { FiresteelError } from "../engine/error.js";
import { fileLines } from "../files/fileLines.js";

/**
 * The lines of a file of JSON objects, one in memory at a time. A last line without its end is what a killed
 * process left, or one that is being written right now: it is left out.
 *
 * @param schema of a line
 * @throws FiresteelError ERR_OPTION naming the line that is none, or the field of it that is wrong
 */
export async function* eachLine<T>(path: string, schema: z.ZodType<T>): AsyncGenerator<T> {
  for await (const { line, text, ended } of fileLines(path)) {
    if (!ended) return;
    const value = parsed(text);
    if (value === null) {
      const message = `Expected a JSON object in line ${line} of ${path} but it is none`;
      throw new FiresteelError("ERR_OPTION", message);
    }
    const { success, data, error } = schema.safeParse(value);
    if (!success) {
      const { path: field, message } = error.issues[0]!;
      const text = `Expected a line of a run in line ${line} of ${path} but ${field.join(".")} is wrong (${message})`;
      throw new FiresteelError("ERR_OPTION", text);
    }
    yield data;
  }
}

/** All of them. @throws FiresteelError ERR_OPTION as `eachLine` */
export async function readLines<T>(path: string, schema: z.ZodType<T>): Promise<T[]> {
  const lines: T[] = [];
  for await (const line of eachLine(path, schema)) lines.push(line);
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
