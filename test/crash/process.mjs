import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { recorders, settings } from "./settings.mjs";

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const tiny = new URL("shrinkTask.mjs", import.meta.url).href;

/** The arguments of node for a run from its beginning, with a warm start where `warmStart`. */
export function beginArgs(
  system,
  out,
  { seed = 1, warmStart = true, steps = settings.steps } = {},
) {
  const all = {
    ...settings,
    warmStart,
    ...(system === "spark-balanced" ? { syncRefModel: true, refModelSyncSteps: 3 } : {}),
  };
  const set = Object.entries(all).filter(
    ([name]) => !["steps", "device", "threads"].includes(name),
  );
  const flags = set.flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  const run = ["--system", system, "--out", out, "--steps", `${steps}`, "--seed", `${seed}`];
  return [...command(), ...run, "--device", settings.device, ...flags];
}

/** Those of a run that goes on. */
export function resumeArgs(from) {
  return [...command(), "--resume", from];
}

function command() {
  const flags = recorders.tensorboard ? ["--tensorboard"] : [];
  return ["--import", tiny, main, "train", "--task", "arithmetic", "--json", ...flags];
}

/**
 * A process that trains.
 *
 * @param args of node
 * @param imports modules given to `--import` before
 * @returns its end (`code`, `signal`, `err`), the last step it told of (-1: none) and whether it is done
 */
export function start(args, { imports = [], env = {}, uid, onLine } = {}) {
  const given = imports.flatMap((module) => ["--import", module]);
  const child = spawn(process.execPath, [...given, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    uid,
  });
  const told = { step: -1, done: false, err: "" };
  child.stderr.on("data", (data) => {
    told.err += data;
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    // The last line of a killed process may be torn.
    const event = /\}$/.test(line) ? JSON.parse(line) : {};
    if (typeof event.step === "number") told.step = event.step;
    if (event.event === "done") told.done = true;
    onLine?.(event);
  });
  const ended = new Promise((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal, ...told }));
  });
  return { child, ended };
}
