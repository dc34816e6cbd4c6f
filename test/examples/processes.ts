import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const examples = join(import.meta.dirname, "..", "..", "examples");

/** An example as its reader runs it: a process of its own. "firesteel" is the built package of this checkout. */
export function start(name: string, ...args: string[]): ChildProcess {
  const env = { ...process.env, FIRESTEEL_DEVICE: "cpu" };
  return spawn(process.execPath, [join(examples, name), ...args], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs one to its end. @returns its output by lines @throws with its output where it failed */
export async function run(name: string, ...args: string[]): Promise<string[]> {
  const child = start(name, ...args);
  let [out, errors] = ["", ""];
  child.stdout!.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr!.on("data", (chunk) => {
    errors += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0 || errors !== "") throw new Error(`${name} ended with ${code}\n${out}${errors}`);
  return out.trimEnd().split("\n");
}

/** The lines of a process that goes on. */
export function linesOf(child: ChildProcess): AsyncIterator<string> {
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
}
