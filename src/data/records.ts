import { open } from "node:fs/promises";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { fileLines } from "../files/fileLines.js";
import { parquetRecords } from "./parquet.js";

/** One row of a file: its columns, or what is wrong with it. `place` is "line 3" or "row 3", from 1. */
export type DataRecord =
  | { readonly place: string; readonly values: Readonly<Record<string, unknown>> }
  | { readonly place: string; readonly wrong: string };

/**
 * The rows of a JSONL file (one object a line, blank lines left out) or of a Parquet file, which its
 * first bytes tell apart; a line or a row group in memory at a time.
 *
 * @throws FiresteelError ERR_OPTION where the file cannot be read, ERR_RANGE for a line over 256 MiB
 */
export async function* records(path: string): AsyncGenerator<DataRecord> {
  if (await isParquet(path)) {
    yield* parquetRecords(path);
    return;
  }
  for await (const { line, text } of fileLines(path)) yield parseLine(text, `line ${line}`);
}

async function isParquet(path: string): Promise<boolean> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
      return bytesRead === 4 && buffer.toString("latin1") === "PAR1";
    } finally {
      await file.close();
    }
  } catch (cause) {
    const message = `Expected a readable file but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
}

function parseLine(text: string, place: string): DataRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return {
      place,
      wrong: `Expected JSON but received a line that is none: ${(error as Error).message}`,
    };
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return { place, values: value as Record<string, unknown> };
  }
  return { place, wrong: `Expected an object but received ${show(value)}` };
}
