import { promisify } from "node:util";
import * as zlib from "node:zlib";
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
} from "hyparquet";
import { FiresteelError } from "../engine/error.js";
import type { DataRecord } from "./records.js";

/** What hyparquet leaves to others and Node brings along. */
const compressors: Compressors = {
  GZIP: (input) => new Uint8Array(zlib.gunzipSync(input)),
  BROTLI: (input) => new Uint8Array(zlib.brotliDecompressSync(input)),
};
// Node 22.15 and later.
if ("zstdDecompressSync" in zlib && typeof zlib.zstdDecompressSync === "function") {
  const decompress = zlib.zstdDecompressSync as (input: Uint8Array) => Buffer;
  compressors.ZSTD = (input) => new Uint8Array(decompress(input));
}

/** Other work of this process goes on between two row groups. */
const pause = promisify(setImmediate);

/**
 * The rows of a Parquet file, one row group in memory at a time. Whole numbers of 64 bits become
 * numbers where these hold them, else texts; dates become ISO texts.
 *
 * @throws FiresteelError ERR_OPTION where the file is damaged, or compressed in a way that this Node
 *   cannot read
 */
export async function* parquetRecords(path: string): AsyncGenerator<DataRecord> {
  const { file, metadata } = await attempt(path, async () => {
    const opened: AsyncBuffer = await asyncBufferFromFile(path);
    return { file: opened, metadata: await parquetMetadataAsync(opened) };
  });
  let begin = 0;
  for (const group of metadata.row_groups) {
    const end = begin + Number(group.num_rows);
    const rows = await attempt(path, () =>
      parquetReadObjects({ file, metadata, compressors, rowStart: begin, rowEnd: end }),
    );
    for (const [i, row] of rows.entries()) {
      yield { place: `row ${begin + i + 1}`, values: plain(row) as Record<string, unknown> };
    }
    begin = end;
    await pause();
  }
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint")
    return Number.isSafeInteger(Number(value)) ? Number(value) : `${value}`;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
}

async function attempt<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const message = `Expected a readable Parquet file but ${path}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_OPTION", message, { cause });
  }
}
