import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Addon } from "./addon.js";

export type Backend = Addon["backend"];

/** A file that may hold a backend. */
export interface BinaryPlace {
  path: string;
  /** Compiled on this machine (into the package's folder, or the user's cache), or shipped. */
  origin: "built" | "cached" | "prebuilt";
}

/** The package's folder: two above this file, in src as in dist. */
export const packageFolder = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** This package's version, as its package.json has it. */
export const packageVersion = (
  createRequire(import.meta.url)("../../package.json") as { version: string }
).version;

const target = `${process.platform}-${process.arch}`;
const fileNames: Record<Backend, string> = {
  cpu: "firesteel.node",
  cuda: "firesteel-cuda.node",
  emulated: "firesteel-emulated.node",
};
/** prebuildify puts the C library into the name. */
const prebuiltNames = { cpu: "firesteel.glibc.node", cuda: "firesteel-cuda.node" };

/** What is kept for this user across processes; null where the user has no home. */
export function cacheFolder(): string | null {
  try {
    const base =
      process.env.XDG_CACHE_HOME ||
      join(homedir(), ...(process.platform === "darwin" ? ["Library", "Caches"] : [".cache"]));
    return join(base, "firesteel");
  } catch {
    return null; // no HOME, and a user that the system does not know
  }
}

/**
 * Makes a folder and those above it. Node's own `recursive` never ends where a file system answers that
 * a folder below one that exists is not there, as /proc does.
 */
export function makeFolders(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT") throw error;
    makeFolders(dirname(path));
    mkdirSync(path);
  }
}

/** Where `firesteel build` puts what it made, best first: the package's folder may be read-only. */
export function buildPlaces(backend: Backend): BinaryPlace[] {
  const name = fileNames[backend];
  const built = { path: join(packageFolder, "out", "Release", name), origin: "built" as const };
  const cache = cacheFolder();
  if (cache === null) return [built];
  return [built, { path: join(cache, packageVersion, target, name), origin: "cached" }];
}

/**
 * Where a backend's binary may lie; the first that loads serves. What was built on this machine goes
 * before what was shipped: somebody asked for it, because the shipped one did not serve or, in the
 * repository, because the sources changed.
 */
export function binaryPlaces(backend: Backend): BinaryPlace[] {
  const built = buildPlaces(backend);
  if (backend === "emulated") return built.slice(0, 1);
  const path = join(packageFolder, "prebuilds", target, prebuiltNames[backend]);
  return [...built, { path, origin: "prebuilt" }];
}
