import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { FiresteelError } from "../index.js";

/** Lines of a failed tool's output that are shown: compilers name the first error early. */
const shown = 30;

/** Runs a tool to its end. @throws FiresteelError ERR_NO_DEVICE with what it printed where it failed */
export async function runTool(
  command: string,
  args: readonly string[],
  onLine: (line: string) => void,
): Promise<void> {
  // Of what this process was started with, a debugger or a hook is not for a child that runs Node.
  const env = { ...process.env, NODE_OPTIONS: "", ELECTRON_RUN_AS_NODE: "1" };
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on("line", (line) => {
      lines.push(line);
      onLine(line);
    });
  }
  const ended = await new Promise<string | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve(code === 0 ? null : signal === null ? `exit code ${code}` : signal);
    });
  });
  if (ended === null) return;
  const firstError = lines.findIndex((line) => /\berror\b/i.test(line));
  const from = firstError === -1 ? lines.length - shown : firstError - 2;
  const told = lines.slice(Math.max(0, from)).slice(0, shown);
  throw new FiresteelError(
    "ERR_NO_DEVICE",
    `${command} ended with ${ended}; nothing was replaced. It said:\n${told.join("\n")}`,
  );
}
