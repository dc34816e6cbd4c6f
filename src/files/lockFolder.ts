import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { FiresteelError } from "../engine/error.js";
import { access } from "./access.js";

/** Who holds a run's folder is written there, for messages; the lock itself is the system's. */
export const lockFile = ".lock";

/** Takes the lock of an open file: true; false where another holds it; null where there are no locks. */
export type TakeLock = (fd: number) => boolean | null;

/**
 * Keeps other processes, and other runs of this one, from writing into a folder. The system drops the lock
 * with the process that holds it, however that ends: the file it leaves means nothing.
 *
 * @param warn is told where the file system has no locks: then two runs are not kept apart
 * @returns what gives the folder free
 * @throws FiresteelError ERR_CHECKPOINT where another run holds it, or the folder cannot be written
 */
export async function lockFolder(
  folder: string,
  take: TakeLock,
  warn: (warning: string) => void,
): Promise<() => Promise<void>> {
  const path = join(folder, lockFile);
  const file = await access("a writable file", path, () => open(path, "a+"));
  try {
    const taken = take(file.fd);
    if (taken === false) throw await held(folder, file);
    if (taken === null)
      warn(`the file system of ${folder} has no locks: train no second run there`);
    await access("a writable file", path, async () => {
      await file.truncate();
      await file.write(`${process.pid}\n`);
    });
  } catch (error) {
    await file.close();
    throw error;
  }
  return () => file.close();
}

async function held(folder: string, file: FileHandle): Promise<FiresteelError> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
  const holder = buffer.toString("utf8", 0, bytesRead).trim();
  const who = holder === "" ? "another process" : `process ${holder}`;
  return new FiresteelError(
    "ERR_CHECKPOINT",
    `Expected a folder that no run writes into but ${who} trains in ${folder}; wait for its end, ` +
      "stop it, or choose another folder",
  );
}
