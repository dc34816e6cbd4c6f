// A file of this folder in a process of its own, whose last line is { findings }.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** @returns what is wrong; a process that does not end by itself is */
export function findingsOf(file, ...args) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const given = ["--expose-gc", path, ...args.map(String)];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, given, {
    encoding: "utf8",
    timeout: 3_600_000,
  });
  const repeat = `node --expose-gc test/lifetime/${file} ${args.join(" ")}`;
  if (status !== 0) {
    return [`it ended with ${signal ?? `exit code ${status}`} (${repeat})\n${stderr.slice(-2000)}`];
  }
  const { findings } = JSON.parse(stdout.trim().split("\n").at(-1));
  return findings.map((finding) => `${finding} (${repeat})`);
}
