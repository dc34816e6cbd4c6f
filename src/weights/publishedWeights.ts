import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { FiresteelError } from "../engine/error.js";
import { damage, fileRecords, recordFile } from "../files/fileRecord.js";

/** Names the weights that count. Replaced by a rename, so that a reader sees the old or the new ones. */
export const pointerFile = "weights.json";
const format = 1;

/** A folder of weights, of which a directory may hold several. */
export const weightsFolder = /^weights-\d+-[0-9a-f]{8}$/;

const schema = z.strictObject({
  format: z.literal(format),
  version: z.number().int().min(0),
  folder: z.string().regex(weightsFolder),
  files: fileRecords,
});

/** By name: what the files of a folder hold. */
type FileRecords = z.infer<typeof schema>["files"];

/** Weights that one process has written for others on the same disk. */
export interface PublishedWeights {
  /** Optimiser steps that they have seen. */
  readonly version: number;
  /** Of their bytes: 16 hexadecimal digits. Two runs may share versions, not this. */
  readonly fingerprint: string;
  /** Where `Policy.save` wrote them. */
  readonly folder: string;
  readonly files: FileRecords;
}

/**
 * The weights that a directory's `weights.json` names.
 *
 * @returns null where nothing has been published yet
 * @throws FiresteelError ERR_CHECKPOINT where weights.json is damaged
 */
export async function publishedWeights(directory: string): Promise<PublishedWeights | null> {
  const path = join(directory, pointerFile);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw refused(path, `it cannot be read (${(cause as Error).message})`, cause);
  }
  let parsed: z.infer<typeof schema>;
  try {
    parsed = schema.parse(JSON.parse(text));
  } catch (cause) {
    throw refused(path, "it does not name weights as publishWeights does", cause);
  }
  const { version, folder, files } = parsed;
  return { version, fingerprint: fingerprintOf(files), folder: join(directory, folder), files };
}

/** @throws FiresteelError ERR_CHECKPOINT where a byte is not as it was published */
export async function checkPublished({ folder, files }: PublishedWeights): Promise<void> {
  const found = await recordFiles(folder);
  for (const [name, written] of Object.entries(files)) {
    const file = found[name];
    const reason = file === undefined ? "it is missing" : damage(file, written);
    if (reason !== null) throw refused(join(folder, name), reason);
  }
}

/** What the files of a folder hold. @throws FiresteelError ERR_CHECKPOINT */
export async function recordFiles(folder: string): Promise<FileRecords> {
  const records: FileRecords = {};
  try {
    for (const name of (await readdir(folder)).sort()) {
      records[name] = await recordFile(join(folder, name));
    }
  } catch (cause) {
    throw refused(folder, `it cannot be read (${(cause as Error).message})`, cause);
  }
  return records;
}

/** The contents of weights.json. */
export function formatPointer(version: number, folder: string, files: FileRecords): string {
  return `${JSON.stringify({ format, version, folder, files }, null, 2)}\n`;
}

/** The same for the same bytes under the same names. */
export function fingerprintOf(files: FileRecords): string {
  const sums = Object.entries(files).map(([name, { sha256 }]) => `${sha256}  ${name}\n`);
  return createHash("sha256").update(sums.sort().join("")).digest("hex").slice(0, 16);
}

function refused(path: string, reason: string, cause?: unknown): FiresteelError {
  return new FiresteelError("ERR_CHECKPOINT", `Expected whole weights in ${path} but ${reason}`, {
    cause,
  });
}
