import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { damage, type FileRecord, fileRecords, recordFile } from "./fileRecord.js";

/** In a checkpoint's folder: what it holds, written last. */
export const stateFile = "state.json";
const format = 1;

export interface CheckpointState<Body> {
  readonly body: Body;
  /** What the other files of the folder hold, by path in it. */
  readonly files: Readonly<Record<string, FileRecord>>;
}

/** The contents of state.json, with its own checksum. */
export function formatState({ body, files }: CheckpointState<unknown>): string {
  const state = { format, body, files };
  return written({ ...state, sha256: sha256(JSON.stringify(state)) });
}

/**
 * A checkpoint's state.json.
 *
 * @throws FiresteelError ERR_CHECKPOINT where it is missing, damaged or of another format
 */
export async function readState<Body>(folder: string): Promise<CheckpointState<Body>> {
  const path = join(folder, stateFile);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw notWhole(path, `it cannot be read (${(cause as Error).message})`, cause);
  }
  let state: CheckpointState<Body> & { format: unknown; sha256: unknown };
  try {
    state = JSON.parse(text);
  } catch (cause) {
    throw notWhole(path, `it is not readable JSON (${(cause as Error).message})`, cause);
  }
  if (typeof state !== "object" || state === null) throw notWhole(path, "it is not an object");
  const { sha256: sum, ...rest } = state;
  if (rest.format !== format) {
    const later = typeof rest.format === "number" && rest.format > format;
    const advice = later ? "; a later version of firesteel reads it" : "";
    throw notWhole(
      path,
      `its format is ${show(rest.format)}; this version reads ${format}${advice}`,
    );
  }
  // The text itself: JSON has several for one value, and not one of its bytes may differ.
  if (text !== written(state) || sha256(JSON.stringify(rest)) !== sum) {
    throw notWhole(path, "its checksum does not match");
  }
  if (!fileRecords.safeParse(state.files).success) {
    throw notWhole(path, "its files are not records of files beside it");
  }
  return state;
}

/**
 * Checks every byte of a checkpoint's files.
 *
 * @param under only those below this path in the folder
 * @throws FiresteelError ERR_CHECKPOINT naming the first that is not as it was written
 */
export async function checkFiles(
  folder: string,
  { files }: CheckpointState<unknown>,
  under = "",
): Promise<void> {
  for (const [name, expected] of Object.entries(files)) {
    if (!name.startsWith(under)) continue;
    const path = join(folder, name);
    const found = await recordFile(path).catch((cause: Error) => {
      throw notWhole(path, `it cannot be read (${cause.message})`, cause);
    });
    const reason = damage(found, expected);
    if (reason !== null) throw notWhole(path, reason);
  }
}

/** The error for a path of a checkpoint that cannot be gone on with. */
export function notWhole(path: string, reason: string, cause?: unknown): FiresteelError {
  const message = `Expected a whole checkpoint in ${path} but ${reason}`;
  return new FiresteelError("ERR_CHECKPOINT", message, { cause });
}

function written(state: object): string {
  return `${JSON.stringify(state)}\n`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
