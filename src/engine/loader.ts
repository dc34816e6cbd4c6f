import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Addon } from "./addon.js";
import { checkChoice } from "./checks.js";
import { FiresteelError } from "./error.js";

export type Backend = Addon["backend"];

/** One binary that was tried, and why it does not serve (`reason` null: it does). */
export interface Attempt {
  backend: Backend;
  path: string;
  reason: string | null;
}

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const require = createRequire(import.meta.url);

/** Where each backend's binary may lie: built here, or shipped. */
const places: Record<Backend, string[]> = {
  cpu: [
    join(root, "out", "Release", "firesteel.node"),
    join(root, "prebuilds", `${process.platform}-${process.arch}`, "firesteel.glibc.node"),
  ],
  cuda: [
    join(root, "out", "Release", "firesteel-cuda.node"),
    join(root, "prebuilds", `${process.platform}-${process.arch}`, "firesteel-cuda.node"),
  ],
  emulated: [join(root, "out", "Release", "firesteel-emulated.node")],
};

/** Directories in which a driver's libcuda is found. */
const driverFolders = [
  ...(process.env.LD_LIBRARY_PATH ?? "").split(":").filter((folder) => folder !== ""),
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib/wsl/lib",
  "/usr/local/nvidia/lib64",
  "/usr/local/cuda/compat",
];

/** Opens the device in a process of its own: what a broken driver takes down is not this one. */
const trial = `
const addon = require(process.argv[1]);
addon.initialize(class extends Error { constructor(code, message) { super(message); } });
try { addon.close(addon.open(0, 0, 1).handle); }
catch (error) { console.log(error.message); process.exit(3); }`;

const outcomes = new Map<Backend, { addon: Addon | null; attempts: Attempt[] }>();

/** Loads a backend once per environment, and tells what was tried. */
export function loadBackend(backend: Backend): { addon: Addon | null; attempts: Attempt[] } {
  let outcome = outcomes.get(backend);
  if (outcome === undefined) {
    outcome = load(backend);
    outcomes.set(backend, outcome);
  }
  return outcome;
}

function load(backend: Backend): { addon: Addon | null; attempts: Attempt[] } {
  const attempts: Attempt[] = [];
  for (const path of places[backend]) {
    const reason = unfit(backend, path);
    if (reason === null) {
      try {
        const addon = require(path) as Addon;
        addon.initialize(FiresteelError);
        attempts.push({ backend, path, reason: null });
        return { addon, attempts };
      } catch (error) {
        attempts.push({ backend, path, reason: (error as Error).message });
        continue;
      }
    }
    attempts.push({ backend, path, reason });
  }
  return { addon: null, attempts };
}

function unfit(backend: Backend, path: string): string | null {
  if (!existsSync(path)) return "not there";
  if (backend !== "cuda") return null;
  if (!driverFolders.some((folder) => existsSync(join(folder, "libcuda.so.1")))) {
    return "no NVIDIA driver (libcuda.so.1) on this machine";
  }
  const child = spawnSync(process.execPath, ["-e", trial, path], {
    encoding: "utf8",
    timeout: 60_000,
  });
  if (child.status === 0) return null;
  if (child.status === 3) return child.stdout.trim();
  return `a trial process ended with ${child.signal ?? `exit code ${child.status}`}: ${(child.stderr ?? "").trim().split("\n")[0]}`;
}

/** A device option; where it is "auto" or not given, FIRESTEEL_DEVICE. @throws FiresteelError ERR_OPTION */
export function wantedDevice(device: "auto" | Backend = "auto"): "auto" | Backend {
  const wanted = device === "auto" ? process.env.FIRESTEEL_DEVICE || device : device;
  return checkChoice("device", wanted, ["auto", "cpu", "cuda", "emulated"]);
}

/** The backend that a device option asks for. @throws FiresteelError ERR_NO_DEVICE */
export function chooseAddon(device: "auto" | Backend): Addon {
  const wanted: Backend[] = device === "auto" ? ["cuda", "cpu"] : [device];
  const attempts: Attempt[] = [];
  for (const backend of wanted) {
    const outcome = loadBackend(backend);
    if (outcome.addon !== null) return outcome.addon;
    attempts.push(...outcome.attempts);
  }
  const tried = attempts.map(({ path, reason }) => `\n  ${path}: ${reason}`).join("");
  throw new FiresteelError(
    "ERR_NO_DEVICE",
    `Expected a binary for device "${device}" but none could be loaded; tried:${tried}\n` +
      "Build it from the sources with `npm run build`, or choose another device.",
  );
}
