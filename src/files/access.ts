import { FiresteelError } from "../engine/error.js";

/** What helps, by what the system says. */
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: "make room on the disk",
  EDQUOT: "make room in your quota",
  EROFS: "the file system is read-only: choose another folder, or mount it writable",
  EACCES: "choose another folder, or change who may write there",
  EPERM: "choose another folder, or change who may write there",
  EMFILE: "too many files are open in this process: raise `ulimit -n`",
  ENFILE: "too many files are open on this machine",
  EIO: "the disk failed: look after it before anything else is written there",
  ENOENT: "it was removed, or moved, by somebody else",
  EISDIR: "a folder stands where the file goes: remove it, or choose another folder",
  EEXIST: "something else has that name: remove it, or choose another folder",
  ENOTDIR: "a file stands where a folder should: remove it, or choose another folder",
  ENOTEMPTY: "something else has that name: remove it, or choose another folder",
};

type Refusal = NodeJS.ErrnoException;
type FileCode = "ERR_CHECKPOINT" | "ERR_OPTION";

/**
 * What `action` gives.
 *
 * @param expected what is wanted of the path, e.g. "a writable file"
 * @param code ERR_CHECKPOINT (default) for what a run writes or goes on from, ERR_OPTION for what a user names
 *   as input
 * @throws FiresteelError with the reason and what to do; errors of ours as they are
 */
export async function access<T>(
  expected: string,
  path: string,
  action: () => Promise<T>,
  code: FileCode = "ERR_CHECKPOINT",
): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw inaccessible(expected, path, cause, code);
  }
}

/** The error for a path that the system refuses; one of ours that has no such cause as it is. */
export function inaccessible(
  expected: string,
  path: string,
  cause: unknown,
  by: FileCode = "ERR_CHECKPOINT",
): FiresteelError {
  const said = (cause instanceof FiresteelError ? cause.cause : cause) as Partial<Refusal> | null;
  if (cause instanceof FiresteelError && typeof said?.code !== "string") return cause;
  const { message, code = "" } = said as Refusal;
  const advice = code in remedies ? `; ${remedies[code]}` : "";
  const text = `Expected ${expected} but ${path}: ${message}${advice}`;
  return new FiresteelError(by, text, { cause });
}
