import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, realpath, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { show } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { checkpointRank, checkpointsByAge } from "../files/checkpointNames.js";
import { damage, type FileRecord, fileRecords, recordFile } from "../files/fileRecord.js";
import { sync, writeSynced } from "../files/synced.js";

const format = 1;

interface StateFile<Body> {
  format: number;
  body: Body;
  files: Record<string, FileRecord>;
  /** Of the JSON of this object without this field. */
  sha256: string;
}

/** Which checkpoints stay beside a new one. */
export interface Retention {
  /** How many of the newest, the new one included; >= 1. */
  readonly last: number;
  /** The name of one that stays too, where there is one; `OUT/best` links to it. */
  readonly best: string | null;
}

/**
 * Writes a checkpoint so that at every instant a whole one lies in `out`: under a temporary name,
 * every file and folder synced, renamed last. Older checkpoints are removed once it stands; those of the
 * warm start with the first one after it.
 *
 * @param name of its folder, e.g. "checkpoint-50"
 * @param body what goes into state.json: JSON values
 * @param write puts further files into the folder it is given
 * @throws FiresteelError ERR_CHECKPOINT where the disk refuses
 */
export async function writeCheckpoint(
  out: string,
  name: string,
  body: unknown,
  write: (folder: string) => Promise<void>,
  retention: Retention = { last: 1, best: null },
): Promise<void> {
  const partial = join(out, `.${name}.partial`);
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial);
    await write(partial);
    const files: Record<string, FileRecord> = {};
    for (const path of await filesUnder(partial)) {
      files[relative(partial, path)] = await recordFile(path);
      await sync(path);
    }
    const state = { format, body, files };
    const text = JSON.stringify({ ...state, sha256: sha256(JSON.stringify(state)) });
    await writeSynced(join(partial, "state.json"), `${text}\n`);
    for (const folder of [...(await foldersUnder(partial)), partial]) await sync(folder);
    await rename(partial, join(out, name));
    await sync(out);
    await link(out, retention.best);
    await removeOthers(out, name, retention);
  } catch (cause) {
    if (cause instanceof FiresteelError) throw cause;
    const message = `Could not write ${join(out, name)}: ${(cause as Error).message}`;
    throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
  }
}

/** Points `OUT/best` to a checkpoint, in one step. */
async function link(out: string, best: string | null): Promise<void> {
  if (best === null || !existsSync(join(out, best))) return;
  const partial = join(out, ".best.partial");
  await rm(partial, { force: true });
  await symlink(best, partial);
  await rename(partial, join(out, "best"));
}

async function removeOthers(out: string, name: string, retention: Retention): Promise<void> {
  const entries = await readdir(out);
  const kind = (entry: string) => entry.replace(/\d+$/, "");
  const kept = new Set([
    retention.best,
    ...checkpointsByAge(entries)
      .filter((entry) => kind(entry) === kind(name))
      .slice(-retention.last),
  ]);
  for (const entry of entries) {
    // What a killed process left half-written; anything else in the folder is not ours.
    const partial = /^\.(.+)\.partial$/.exec(entry)?.[1];
    const stale = checkpointRank(partial ?? entry) !== null;
    if (stale && !kept.has(entry)) await rm(join(out, entry), { recursive: true, force: true });
  }
}

/** A whole checkpoint. */
export interface Checkpoint<Body> {
  readonly folder: string;
  /** The run that can go on from it in place: the run's folder, where this is its newest. */
  readonly run: string | null;
  /** Of its state.json. */
  readonly body: Body;
}

/**
 * A checkpoint, every byte checked.
 *
 * @param path a run's folder: its newest one; or the folder of a checkpoint
 * @throws FiresteelError ERR_CHECKPOINT where there is none, or what is wrong with it
 */
export async function readCheckpoint<Body>(path: string): Promise<Checkpoint<Body>> {
  let folder: string;
  let run: string | null = path;
  try {
    const entries = await readdir(path);
    const newest = checkpointsByAge(entries).at(-1);
    if (newest !== undefined) folder = join(path, newest);
    else if (entries.includes("state.json")) {
      // OUT/best is a link.
      folder = await realpath(path);
      const parent = dirname(folder);
      run = checkpointsByAge(await readdir(parent)).at(-1) === basename(folder) ? parent : null;
    } else throw refused(path, "there is none");
  } catch (cause) {
    if (cause instanceof FiresteelError) throw cause;
    throw refused(path, `it cannot be read (${(cause as Error).message})`, cause);
  }
  const state = await readState<Body>(join(folder, "state.json"));
  for (const [name, expected] of Object.entries(state.files)) {
    const path = join(folder, name);
    const found = await recordFile(path).catch((cause: Error) => {
      throw refused(path, `it cannot be read (${cause.message})`, cause);
    });
    const reason = damage(found, expected);
    if (reason !== null) throw refused(path, reason);
  }
  return { folder, run, body: state.body };
}

async function readState<Body>(path: string): Promise<StateFile<Body>> {
  let state: StateFile<Body>;
  try {
    state = JSON.parse(await readFile(path, "utf8")) as StateFile<Body>;
  } catch (cause) {
    throw refused(path, `it is not readable JSON (${(cause as Error).message})`, cause);
  }
  if (typeof state !== "object" || state === null) throw refused(path, "it is not an object");
  if (state.format !== format) {
    throw refused(path, `its format is ${show(state.format)}; this version reads ${format}`);
  }
  const { sha256: expected, ...rest } = state;
  if (sha256(JSON.stringify(rest)) !== expected) throw refused(path, "its checksum does not match");
  if (!fileRecords.safeParse(state.files).success) {
    throw refused(path, "its files are not records of files beside it");
  }
  return state;
}

function refused(path: string, reason: string, cause?: unknown): FiresteelError {
  const message = `Expected a whole checkpoint in ${path} but ${reason}`;
  return new FiresteelError("ERR_CHECKPOINT", message, { cause });
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function foldersUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
}
