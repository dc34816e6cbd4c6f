import { readFileSync, statSync } from "node:fs";
import type { BinaryPlace } from "./binaryPlaces.js";
import { readElf } from "./elf.js";

/** The C library of this process: its version where it is glibc. Takes tens of milliseconds. */
export function foundGlibc(): string | null {
  if (process.platform !== "linux") return null;
  // Without excludeNetwork, the addresses of this machine are looked up by name.
  Object.assign(process.report, { excludeNetwork: true });
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime ?? null;
}

/** The newest symbol versions that a Linux binary asks for, e.g. glibc "2.28"; null where it asks for none. */
export function neededVersions(path: string): { glibc: string | null; libstdcxx: string | null } {
  const text = readFileSync(path, "latin1");
  const newest = (pattern: RegExp) =>
    [...text.matchAll(pattern)]
      .map(([, version]) => version!)
      .sort(byNumbers)
      .at(-1) ?? null;
  return {
    glibc: newest(/\0GLIBC_([\d.]+)(?=\0)/g),
    libstdcxx: newest(/\0GLIBCXX_([\d.]+)(?=\0)/g),
  };
}

function byNumbers(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/**
 * Why a file must not be loaded, told without loading it: a library that ends early takes the process
 * down, one for another C library or in another user's hands may.
 */
export function fileProblem({ path, origin }: BinaryPlace): string | null {
  if (process.platform !== "linux") return null;
  const { uid } = statSync(path);
  if (origin === "cached" && uid !== 0 && uid !== process.getuid?.()) {
    return `belongs to another user (${uid})`;
  }
  const head = readElf(path);
  if (head === null) return "damaged: not a 64-bit Linux library";
  if (head.size < head.bytes) return `damaged: ${head.size} bytes of ${head.bytes}`;
  if (head.arch !== process.arch) return `built for ${head.arch}; this process is ${process.arch}`;
  if (origin === "prebuilt" && isMusl()) return "built for glibc; this system's C library is musl";
  return null;
}

/** Whether this process runs on musl: what loaded it says so. */
function isMusl(): boolean {
  try {
    return readElf(process.execPath)?.interpreter?.includes("ld-musl") === true;
  } catch {
    return false; // an executable that may be run but not read
  }
}

/** What the system's loader said of a binary, in words that say what to do about it. */
export function loadProblem(message: string): string {
  const [, version, library] =
    /version `((GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found/.exec(message) ?? [];
  if (library === "GLIBC") {
    return `needs glibc ${version!.replace("GLIBC_", "")}; this system has ${foundGlibc() ?? "another C library"}`;
  }
  if (version !== undefined)
    return `needs ${version}, which this system's libstdc++ is too old for`;
  const missing = /(\S+\.so[.\d]*): cannot open shared object file/.exec(message)?.[1];
  if (missing !== undefined) return `needs ${missing}, which is not installed`;
  return message.trim().split("\n")[0]!;
}
