import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { isAbsolute, normalize } from "node:path";
import { z } from "zod";

/** What a file held when it was written, to tell later whether it is whole. */
export interface FileRecord {
  bytes: number;
  /** 64 hexadecimal digits. */
  sha256: string;
}

/** By path below a folder, never beside it: what its files hold. */
export const fileRecords = z.record(
  z.string().refine((path) => !isAbsolute(path) && !/^\.\.?($|[/\\])/.test(normalize(path))),
  z.strictObject({ bytes: z.number().int(), sha256: z.string().length(64) }),
);

/** What a file holds now; a piece of it in memory at a time. */
export async function recordFile(path: string): Promise<FileRecord> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** In what a file is not as it was written; null: in nothing. */
export function damage(found: FileRecord, written: FileRecord): string | null {
  if (found.bytes !== written.bytes) {
    return `it has ${found.bytes} bytes instead of ${written.bytes}`;
  }
  return found.sha256 === written.sha256 ? null : "its checksum does not match";
}
