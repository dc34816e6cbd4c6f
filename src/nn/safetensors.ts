import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { invalid } from "../engine/checks.js";
import { type DType, dtypes, newArray, type TypedArray } from "../engine/dtype.js";
import { FiresteelError } from "../engine/error.js";
import { MAX_HEADER_BYTES, parseHeader, type SafetensorsHeader } from "./safetensorsHeader.js";

/** A tensor as it lies in a file. bf16 and f16 are bits in a `Uint16Array`. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** What a file holds: tensors by name, and the texts of its header. */
export interface Safetensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads a safetensors file (F32, BF16, F16, F64, I32, U8), each tensor into memory of its own. A file that
 * `writeSafetensors` wrote is held against its checksum.
 *
 * @throws FiresteelError ERR_CHECKPOINT where the file cannot be read or is damaged: what is wrong,
 * and in which file
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const file = await attempt(path, () => open(path, "r"));
  try {
    const { header, dataStart } = await readHeader(path, file);
    const tensors = new Map<string, StoredTensor>();
    for (const { name, dtype, shape, begin, end } of header.entries) {
      const data = newArray(dtype, (end - begin) / dtypes[dtype].bytes);
      await readFully(path, file, bytesOf(data), dataStart + begin);
      tensors.set(name, { dtype, shape, data });
    }
    const { [checksumName]: written, ...metadata } = header.metadata;
    if (written !== undefined && written !== checksum([...tensors].sort(byName), metadata)) {
      throw damaged(path, "its checksum does not match");
    }
    return { tensors, metadata };
  } finally {
    await file.close();
  }
}

/**
 * Writes a safetensors file and syncs it to the disk. Equal tensors give equal bytes: names are
 * sorted, tensors lie in that order without gaps, the header is padded to 8 bytes. The metadata gets a
 * checksum of all the rest.
 *
 * @throws FiresteelError ERR_CHECKPOINT where the file cannot be written; ERR_SHAPE, ERR_DTYPE
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, StoredTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const sorted = [...tensors].sort(byName);
  const fields = describe(sorted);
  const header = encodeHeader(fields, { ...metadata, [checksumName]: checksum(sorted, metadata) });
  const file = await attempt(path, () => open(path, "w"));
  try {
    await attempt(path, async () => {
      await file.writeFile(header);
      for (const [, tensor] of sorted) await file.writeFile(bytesOf(tensor.data));
      await file.sync();
    });
  } finally {
    await file.close();
  }
}

/** In the metadata of files that we write. */
const checksumName = "firesteel.crc32";

type Named = readonly (readonly [string, StoredTensor])[];

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Of all that a file holds: metadata, names, types, shapes and bytes, in the order in which it is written. */
function checksum(sorted: Named, metadata: Readonly<Record<string, string>>): string {
  let sum = crc32(`${describeMetadata(metadata)}${describe(sorted)}`);
  for (const [, { data }] of sorted) sum = crc32(bytesOf(data), sum);
  return sum.toString(16).padStart(8, "0");
}

function encodeHeader(fields: string, metadata: Readonly<Record<string, string>>): Uint8Array {
  const all = [`"__metadata__":${describeMetadata(metadata)}`, fields].filter(
    (text) => text !== "",
  );
  const json = Buffer.from(`{${all.join(",")}}`, "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, " ");
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(bytes, 8);
  return bytes;
}

function describeMetadata(metadata: Readonly<Record<string, string>>): string {
  const names = Object.keys(metadata).sort();
  const values = names.map((name) => `${JSON.stringify(name)}:${JSON.stringify(metadata[name])}`);
  return `{${values.join(",")}}`;
}

/** The header's fields for the tensors. @throws FiresteelError ERR_OPTION, ERR_DTYPE, ERR_SHAPE */
function describe(sorted: Named): string {
  const fields: string[] = [];
  let offset = 0;
  for (const [i, [name, { dtype, shape, data }]] of sorted.entries()) {
    if (name === "__metadata__" || name === sorted[i - 1]?.[0]) {
      throw invalid("ERR_OPTION", "tensors", "distinct names other than __metadata__", name);
    }
    if (!(data instanceof dtypes[dtype].array)) {
      throw invalid("ERR_DTYPE", name, `a ${dtypes[dtype].array.name} (${dtype})`, data);
    }
    const size = shape.reduce((a, b) => a * b, 1);
    if (data.length !== size) throw invalid("ERR_SHAPE", name, `${size} elements`, data);
    const end = offset + data.byteLength;
    const value = { dtype: dtype.toUpperCase(), shape, data_offsets: [offset, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
    offset = end;
  }
  return fields.join(",");
}

async function readHeader(
  path: string,
  file: FileHandle,
): Promise<{ header: SafetensorsHeader; dataStart: number }> {
  const { size } = await file.stat();
  if (size < 8)
    throw damaged(path, `the file has ${size} bytes, fewer than the 8 of its length field`);
  const prefix = Buffer.alloc(8);
  await readFully(path, file, prefix, 0);
  const length = prefix.readBigUInt64LE(0);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw damaged(path, `the header claims ${length} bytes, more than ${MAX_HEADER_BYTES}`);
  }
  const dataStart = 8 + Number(length);
  if (dataStart > size) {
    throw damaged(path, `the header claims ${length} bytes but only ${size - 8} follow`);
  }
  const bytes = Buffer.alloc(Number(length));
  await readFully(path, file, bytes, 8);
  try {
    return { header: parseHeader(bytes, size - dataStart), dataStart };
  } catch (error) {
    if (error instanceof FiresteelError) throw damaged(path, error.message);
    throw error;
  }
}

async function readFully(path: string, file: FileHandle, into: Uint8Array, position: number) {
  // One read call returns at most 2 GiB - 1.
  const most = 2 ** 30;
  for (let done = 0; done < into.length; ) {
    const length = Math.min(most, into.length - done);
    const { bytesRead } = await attempt(path, () => file.read(into, done, length, position + done));
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + done} while being read`);
    done += bytesRead;
  }
}

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FiresteelError("ERR_CHECKPOINT", `${path}: ${reason}`, { cause });
  }
}

function damaged(path: string, reason: string): FiresteelError {
  return new FiresteelError("ERR_CHECKPOINT", `${path} is damaged: ${reason}`);
}

function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
