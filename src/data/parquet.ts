import { promisify } from "node:util";
import * as zlib from "node:zlib";
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type SchemaTree,
} from "hyparquet";
import { show } from "../engine/checks.js";
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
    const metadata = await parquetMetadataAsync(opened);
    checkColumns(metadata);
    return { file: opened, metadata };
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

/**
 * Refuses row groups whose columns are not the schema's, once each. hyparquet begins to read a column before
 * it looks for its place, and nobody hears of the failure of one that has none: it would end the process.
 */
function checkColumns(metadata: FileMetaData): void {
  const leaves = new Set(leavesOf(parquetSchema(metadata)));
  for (const { columns } of metadata.row_groups) {
    const paths = columns.map((column) => pathName(column.meta_data?.path_in_schema ?? []));
    const stray = paths.find((path, i) => !leaves.has(path) || paths.indexOf(path) !== i);
    if (stray !== undefined) throw new Error(`column ${show(stray)} is not once in its schema`);
  }
}

function leavesOf({ children, path }: SchemaTree): string[] {
  return children.length === 0 ? [pathName(path)] : children.flatMap(leavesOf);
}

const pathName = (path: readonly string[]) => JSON.stringify(path);

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
