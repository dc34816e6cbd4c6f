import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";
import { cacheFolder, makeFolders } from "./binaryPlaces.js";

/** Directories in which a driver's libcuda is found. */
const driverFolders = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/usr/lib/wsl/lib",
  "/usr/local/nvidia/lib64",
  "/usr/local/cuda/compat",
  "/run/opengl-driver/lib",
];

/** The NVIDIA driver's library; null where there is none. */
export function driverLibrary(): string | null {
  const given = (process.env.LD_LIBRARY_PATH ?? "").split(":").filter((folder) => folder !== "");
  const candidates = [...given, ...driverFolders].map((folder) => join(folder, "libcuda.so.1"));
  return candidates.find((path) => existsSync(path)) ?? null;
}

/** The version of the driver that the kernel runs, e.g. "580.65.06"; null where it does not say. */
export function driverVersion(): string | null {
  try {
    const text = readFileSync("/proc/driver/nvidia/version", "utf8");
    return /\b\d{3,}\.\d+(\.\d+)?\b/.exec(text)?.[0] ?? null;
  } catch {
    return null;
  }
}

/**
 * Opens the device of the binary that argv names, in a process of its own: what a broken driver takes down is
 * not this one. Exit code 3 with the reason on stdout where that fails.
 */
export const deviceTrial = `
const addon = require(process.argv[1]);
addon.initialize(class extends Error { constructor(code, message) { super(message); } });
try { addon.close(addon.open(0, 0, 1).handle); }
catch (error) { console.log(error.message); process.exit(3); }`;

/**
 * Why the device cannot be opened with this binary (null: it can), found out in a child process.
 *
 * A success is remembered on disk for the same binary, driver, cards and Node, for a driver that works
 * does not become one that crashes. A failure may pass (a card that was busy), so it is remembered by
 * this process and by the workers that it starts from then on.
 *
 * @param library from `driverLibrary`
 */
export function tryDevice(path: string, library: string): string | null {
  const key = situation(path, library);
  const known = getEnvironmentData(key) as string | undefined;
  if (known !== undefined) return known === "" ? null : known;
  const cache = cacheFolder();
  const record = cache === null ? null : join(cache, "trials", key);
  if (record !== null && isOwn(record)) return null;
  const reason = openInChild(path);
  if (reason !== null || record === null || !keep(record)) setEnvironmentData(key, reason ?? "");
  return reason;
}

/** All that a trial's outcome hangs on. */
function situation(path: string, library: string): string {
  const identity = (file: string) => {
    const real = realpathSync(file);
    const { size, mtimeMs } = statSync(real);
    return [real, size, mtimeMs];
  };
  const cards = existsSync("/dev")
    ? readdirSync("/dev").filter((name) => /^nvidia|^dxg$/.test(name))
    : [];
  const { CUDA_VISIBLE_DEVICES, LD_LIBRARY_PATH } = process.env;
  const all = [
    ...[path, library, process.execPath].map(identity),
    [driverVersion(), cards.sort(), CUDA_VISIBLE_DEVICES, LD_LIBRARY_PATH],
  ];
  return `cuda-${createHash("sha256").update(JSON.stringify(all)).digest("hex").slice(0, 32)}`;
}

function isOwn(record: string): boolean {
  return statSync(record, { throwIfNoEntry: false })?.uid === process.getuid?.();
}

/** @returns false where nothing can be written: a read-only home */
function keep(record: string): boolean {
  try {
    makeFolders(dirname(record));
    writeFileSync(record, "");
    return true;
  } catch {
    return false;
  }
}

function openInChild(path: string): string | null {
  // Of what this process was started with, a debugger or a hook is not for the child.
  const env = { ...process.env, NODE_OPTIONS: "", ELECTRON_RUN_AS_NODE: "1" };
  try {
    const child = spawnSync(process.execPath, ["-e", deviceTrial, path], {
      encoding: "utf8",
      timeout: 60_000,
      env,
    });
    if (child.error !== undefined) return `a trial process failed: ${child.error.message}`;
    if (child.status === 0) return null;
    if (child.status === 3) return child.stdout.trim();
    const said = child.stderr.split("\n").find((line) => line.includes("Error")) ?? "";
    return `a trial process ended with ${child.signal ?? `exit code ${child.status}`}${said === "" ? "" : `: ${said}`}`;
  } catch (error) {
    return `no trial process could be started: ${(error as Error).message}`; // Node's permission model
  }
}
