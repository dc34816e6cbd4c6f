import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { Addon } from "./addon.js";
import { fileProblem, loadProblem } from "./binaryFile.js";
import { type Backend, type BinaryPlace, binaryPlaces } from "./binaryPlaces.js";
import { checkChoice } from "./checks.js";
import { driverLibrary, driverVersion, tryDevice } from "./cudaTrial.js";
import { FiresteelError } from "./error.js";

export type { Backend } from "./binaryPlaces.js";

/** One binary that was tried, and why it does not serve (`reason` null: it does). */
export interface Attempt {
  backend: Backend;
  path: string;
  reason: string | null;
}

/** What came of loading a backend. */
export interface Outcome {
  addon: Addon | null;
  attempts: Attempt[];
  /** What would make it load; empty where it is loaded. */
  advice: string[];
}

const require = createRequire(import.meta.url);
const outcomes = new Map<Backend, Outcome>();

/** Loads a backend once per environment (the main thread, a worker), and tells what was tried. */
export function loadBackend(backend: Backend): Outcome {
  let outcome = outcomes.get(backend);
  if (outcome === undefined) {
    outcome = load(backend);
    outcomes.set(backend, outcome);
  }
  return outcome;
}

function load(backend: Backend): Outcome {
  const attempts: Attempt[] = [];
  const advice: string[] = [];
  for (const place of binaryPlaces(backend)) {
    const { path } = place;
    if (!existsSync(path)) {
      attempts.push({ backend, path, reason: "not there" });
      continue;
    }
    try {
      const addon = open(backend, place);
      attempts.push({ backend, path, reason: null });
      return { addon, attempts, advice: [] };
    } catch (error) {
      attempts.push({ backend, path, reason: loadProblem((error as Error).message) });
      advice.push(...(error instanceof DeviceProblem ? error.advice : [howToBuild(backend)]));
    }
  }
  return { addon: null, attempts, advice: advice.length > 0 ? advice : whereNoneIs(backend) };
}

/** The binary is sound; the device is not. */
class DeviceProblem extends Error {
  constructor(
    reason: string,
    readonly advice: readonly string[],
  ) {
    super(reason);
  }
}

/** @throws Error whose message says why the binary does not serve */
function open(backend: Backend, place: BinaryPlace): Addon {
  const { path } = place;
  const damage = fileProblem(place);
  if (damage !== null) throw new Error(damage);
  if (backend === "cuda") checkDriver(path);
  const addon = require(path) as Addon;
  addon.initialize(FiresteelError);
  if (backend === "cuda") checkDevice(addon);
  return addon;
}

/** @throws DeviceProblem where there is no driver, or a child process could not open the device */
function checkDriver(path: string): void {
  const library = driverLibrary();
  if (library === null) {
    const advice = ['install the NVIDIA driver if there is a card; device "cpu" needs none'];
    throw new DeviceProblem("no NVIDIA driver (libcuda.so.1) on this machine", advice);
  }
  const reason = tryDevice(path, library);
  if (reason === null) return;
  if (!reason.includes("driver is too old")) throw new DeviceProblem(reason, [askDriver]);
  const installed = driverVersion();
  throw new DeviceProblem(installed === null ? reason : `${reason}; ${installed} is installed`, [
    "update NVIDIA's driver",
    "or `npx firesteel build --cuda` with a CUDA toolkit that this driver runs",
  ]);
}

/** The trial may have been on another day: cards come and go. @throws DeviceProblem */
function checkDevice(addon: Addon): void {
  try {
    addon.close(addon.open(0, 0, 1).handle);
  } catch (error) {
    throw new DeviceProblem((error as Error).message, [askDriver]);
  }
}

const askDriver = "`nvidia-smi` shows which cards answer; CUDA_VISIBLE_DEVICES chooses among them";

function howToBuild(backend: Backend): string {
  const flag = backend === "cuda" ? " --cuda" : "";
  return `\`npx firesteel build${flag}\` compiles it on this machine, and says what it needs for that`;
}

function whereNoneIs(backend: Backend): string[] {
  if (backend === "emulated") {
    return ["`node scripts/buildNative.mjs --tests` builds it, in firesteel's repository"];
  }
  const shipped = process.platform === "linux" && process.arch === "x64";
  const lost = "install firesteel again; what bundles or copies it must take its prebuilds along";
  return shipped ? [howToBuild(backend), lost] : [howToBuild(backend)];
}

/** A device option; where it is "auto" or not given, FIRESTEEL_DEVICE. @throws FiresteelError ERR_OPTION */
export function wantedDevice(device: "auto" | Backend = "auto"): "auto" | Backend {
  const wanted = device === "auto" ? process.env.FIRESTEEL_DEVICE || device : device;
  return checkChoice("device", wanted, ["auto", "cpu", "cuda", "emulated"]);
}

/** The backend that a device option asks for. @throws FiresteelError ERR_NO_DEVICE */
export function chooseAddon(device: "auto" | Backend): Addon {
  const outcomes: Outcome[] = [];
  for (const backend of device === "auto" ? (["cuda", "cpu"] as const) : [device]) {
    const outcome = loadBackend(backend);
    if (outcome.addon !== null) return outcome.addon;
    outcomes.push(outcome);
  }
  const tried = outcomes.flatMap(({ attempts }) => attempts);
  const advice = new Set(outcomes.flatMap(({ advice }) => advice));
  throw new FiresteelError(
    "ERR_NO_DEVICE",
    [
      `Expected a binary for device "${device}" but none could be loaded; tried:`,
      ...tried.map(({ path, reason }) => `  ${path}: ${reason}`),
      "What to do:",
      ...[...advice].map((step) => `  ${step}`),
      "  `npx firesteel doctor` shows what was found on this machine",
    ].join("\n"),
  );
}
