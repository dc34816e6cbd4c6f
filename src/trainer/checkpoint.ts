import { existsSync } from "node:fs";
import { mkdir, readdir, realpath, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { FiresteelError } from "../engine/error.js";
import { inaccessible } from "../files/access.js";
import { checkpointRank, checkpointsByAge } from "../files/checkpointNames.js";
import {
  type CheckpointState,
  checkFiles,
  formatState,
  notWhole,
  readState,
  stateFile,
} from "../files/checkpointState.js";
import { type FileRecord, recordFile } from "../files/fileRecord.js";
import { sync, writeSynced } from "../files/synced.js";

/** Which checkpoints stay beside a new one. */
export interface Retention {
  /** How many of the newest, the new one included; >= 1. */
  readonly last: number;
  /** The name of one that stays too, where there is one; `OUT/best` links to it. */
  readonly best: string | null;
}

/** What the files that have been put into a folder must hold, by path in it, as far as that is known. */
export type KnownFiles = Readonly<Record<string, FileRecord>>;

/**
 * Writes a checkpoint so that at every instant a whole one lies in `out`, also after a loss of power: under
 * a temporary name, every file and folder synced, renamed last. Older checkpoints are removed once it
 * stands; those of the warm start with the first one after it. A folder with the name of a checkpoint is a
 * whole one.
 *
 * @param name of its folder, e.g. "checkpoint-50"
 * @param body what goes into state.json: JSON values
 * @param write puts further files into the folder it is given
 * @returns what its files hold
 * @throws FiresteelError ERR_CHECKPOINT where the disk refuses
 */
export async function writeCheckpoint(
  out: string,
  name: string,
  body: unknown,
  write: (folder: string) => Promise<KnownFiles>,
  retention: Retention = { last: 1, best: null },
): Promise<KnownFiles> {
  const partial = partialOf(out, name);
  const files: Record<string, FileRecord> = {};
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial);
    const known = await write(partial);
    for (const path of await filesUnder(partial)) {
      const file = relative(partial, path);
      files[file] = known[file] ?? (await recordFile(path));
      await sync(path);
    }
    await writeSynced(join(partial, stateFile), formatState({ body, files }));
    for (const folder of [...(await foldersUnder(partial)), partial]) await sync(folder);
    await rename(partial, join(out, name));
    await sync(out);
  } catch (cause) {
    // A disk that is full has room again for whoever goes on; what this fails of is told below.
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    throw inaccessible("room for a checkpoint", join(out, name), cause);
  }
  await settleCheckpoints(out, name, retention);
  return files;
}

/**
 * What follows once a checkpoint stands, also where a kill has come before it: `OUT/best`, and older ones go.
 *
 * @throws FiresteelError ERR_CHECKPOINT where the disk refuses
 */
export async function settleCheckpoints(
  out: string,
  name: string,
  retention: Retention,
): Promise<void> {
  try {
    await link(out, retention.best);
    await removeOthers(out, name, retention);
  } catch (cause) {
    throw inaccessible(`to clear away what is older than ${name}`, out, cause);
  }
}

/** Where what is not yet, or no longer, a checkpoint lies. */
function partialOf(out: string, name: string): string {
  return join(out, `.${name}.partial`);
}

/** Points `OUT/best` to a checkpoint, in one step. */
async function link(out: string, best: string | null): Promise<void> {
  if (best === null || !existsSync(join(out, best))) return;
  const partial = join(out, ".best.partial");
  await rm(partial, { force: true });
  await symlink(best, partial);
  await rename(partial, join(out, "best"));
  // What it pointed to before may be removed now.
  await sync(out);
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
    if (!stale || kept.has(entry)) continue;
    const gone = partial === undefined ? partialOf(out, entry) : join(out, entry);
    if (partial === undefined) {
      await rm(gone, { recursive: true, force: true });
      await rename(join(out, entry), gone);
    }
    await rm(gone, { recursive: true, force: true });
  }
}

/** A whole checkpoint. */
export interface Checkpoint<Body> {
  readonly folder: string;
  /** The run that can go on from it in place: the run's folder, where this is its newest. */
  readonly run: string | null;
  /** Of its state.json. */
  readonly body: Body;
  /** What its files hold, by path in the folder. */
  readonly files: KnownFiles;
}

/**
 * A checkpoint, every byte checked.
 *
 * @param path a run's folder: its newest one; or the folder of a checkpoint
 * @throws FiresteelError ERR_CHECKPOINT where there is none, or what is wrong with it and which older one
 *   of its run is whole
 */
export async function readCheckpoint<Body>(path: string): Promise<Checkpoint<Body>> {
  const { folder, run } = await findCheckpoint(path);
  try {
    const state = await readState<Body>(folder);
    await checkFiles(folder, state);
    return { folder, run, body: state.body, files: state.files };
  } catch (error) {
    if (run === null || !(error instanceof FiresteelError)) throw error;
    const older = await wholeBefore(run, basename(folder));
    const advice =
      older === null
        ? "no older one of the run is whole"
        : `${older} is whole: resume it into another --out, or remove ${folder} to go on from there`;
    throw new FiresteelError(error.code, `${error.message}; ${advice}`, { cause: error });
  }
}

/** The folder of the checkpoint that a path means, and its run where that goes on from it in place. */
async function findCheckpoint(path: string): Promise<{ folder: string; run: string | null }> {
  try {
    const entries = await readdir(path);
    const newest = checkpointsByAge(entries).at(-1);
    if (newest !== undefined) return { folder: join(path, newest), run: path };
    if (entries.includes(stateFile)) {
      // OUT/best is a link.
      const folder = await realpath(path);
      const parent = dirname(folder);
      const siblings = checkpointsByAge(await readdir(parent));
      return { folder, run: siblings.at(-1) === basename(folder) ? parent : null };
    }
    const begun = entries.includes("system.txt")
      ? "the run in it has not come that far: begin it again with the same --out"
      : "there is none";
    throw notWhole(path, begun);
  } catch (cause) {
    if (cause instanceof FiresteelError) throw cause;
    throw notWhole(path, `it cannot be read (${(cause as Error).message})`, cause);
  }
}

/**
 * Another process may have gone on with the run since its checkpoint was read.
 *
 * @throws FiresteelError ERR_CHECKPOINT
 */
export async function checkNewest(run: string, folder: string): Promise<void> {
  const newest = checkpointsByAge(await readdir(run)).at(-1);
  if (newest === basename(folder)) return;
  throw notWhole(folder, `${run} has gone on to ${newest ?? "nothing"} meanwhile; try again`);
}

/** The folder of the newest whole checkpoint of a run that is older than one of them; null: there is none. */
async function wholeBefore(run: string, name: string): Promise<string | null> {
  const names = checkpointsByAge(await readdir(run));
  for (const older of names.slice(0, names.indexOf(name)).reverse()) {
    const folder = join(run, older);
    if (await isWhole(folder)) return folder;
  }
  return null;
}

async function isWhole(folder: string): Promise<boolean> {
  try {
    const state: CheckpointState<unknown> = await readState(folder);
    await checkFiles(folder, state);
    return true;
  } catch (error) {
    if (error instanceof FiresteelError) return false;
    throw error;
  }
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
