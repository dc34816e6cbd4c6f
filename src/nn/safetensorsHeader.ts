import { show } from "../engine/checks.js";
import { type DType, dtypes } from "../engine/dtype.js";
import { FiresteelError } from "../engine/error.js";

/** The format's own limit. */
export const MAX_HEADER_BYTES = 100_000_000;

export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes from the start of the data. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order in which they lie in the file. */
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Checks everything that a header says: the tensors must cover the data exactly once.
 *
 * @param dataBytes length of what follows the header
 * @throws FiresteelError ERR_CHECKPOINT
 */
export function parseHeader(bytes: Uint8Array, dataBytes: number): SafetensorsHeader {
  const value = parseJson(bytes);
  const entries: SafetensorsEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, field] of Object.entries(value)) {
    if (name === "__metadata__") metadata = parseMetadata(field);
    else entries.push(parseEntry(name, field, dataBytes));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of entries) {
    if (begin < covered) throw damaged(`tensor ${show(name)} overlaps the one before it`);
    if (begin > covered)
      throw damaged(`nothing describes bytes ${covered} to ${begin} of the data`);
    covered = end;
  }
  if (covered < dataBytes) {
    throw damaged(`nothing describes bytes ${covered} to ${dataBytes} of the data`);
  }
  return { entries, metadata };
}

function parseJson(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(`its header is not JSON (${cause instanceof Error ? cause.message : cause})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw damaged(`its header is not a JSON object but ${show(value)}`);
  }
  const twice = duplicateKey(text);
  if (twice !== null) throw damaged(`its header has ${twice} twice`);
  return value as Record<string, unknown>;
}

/** JSON.parse keeps the last of two equal keys; here both must be seen. `text` is valid JSON. */
function duplicateKey(text: string): string | null {
  const open: Set<string>[] = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, -1)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return show(key);
      keys.add(key);
    }
  }
  return null;
}

function parseMetadata(field: unknown): Record<string, string> {
  if (typeof field !== "object" || field === null || Array.isArray(field)) {
    throw damaged("its __metadata__ is not an object");
  }
  for (const [key, value] of Object.entries(field)) {
    if (typeof value !== "string") throw damaged(`metadata ${show(key)} is not a string`);
  }
  return field as Record<string, string>;
}

function parseEntry(name: string, field: unknown, dataBytes: number): SafetensorsEntry {
  const tensor = `tensor ${show(name)}`;
  if (typeof field !== "object" || field === null || Array.isArray(field)) {
    throw damaged(`${tensor} is not described by an object`);
  }
  const { dtype, shape, data_offsets: offsets, ...rest } = field as Record<string, unknown>;
  const extra = Object.keys(rest)[0];
  if (extra !== undefined) throw damaged(`${tensor} has an unknown field ${show(extra)}`);
  const known = Object.keys(dtypes).find((type) => type.toUpperCase() === dtype);
  if (known === undefined) {
    const names = Object.keys(dtypes).map((type) => type.toUpperCase());
    throw damaged(`${tensor} has dtype ${show(dtype)}, not one of ${names.join(", ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw damaged(`${tensor} has no shape of non-negative integers`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw damaged(`${tensor} has no data_offsets of two non-negative integers`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw damaged(`${tensor} begins at ${begin}, after its end ${end}`);
  if (end > dataBytes) {
    throw damaged(`${tensor} ends at byte ${end} but the data has ${dataBytes}`);
  }
  // In exact integers: a product that wraps or rounds could pass for the right size.
  const size = (shape as number[]).reduce((a, b) => a * BigInt(b), 1n);
  const expected = size * BigInt(dtypes[known as DType].bytes);
  if (BigInt(end - begin) !== expected) {
    throw damaged(
      `${tensor} of shape [${shape.join(", ")}] needs ${expected} bytes but has ${end - begin}`,
    );
  }
  return { name, dtype: known as DType, shape, begin, end };
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function damaged(reason: string): FiresteelError {
  return new FiresteelError("ERR_CHECKPOINT", reason);
}
