// The host refuses the addon memory: a child runs scenarios under refuse_host.cc, and must end by itself.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** Why it cannot be done here, or null. */
export function withoutHost() {
  if (process.platform !== "linux") return "refusing by LD_PRELOAD needs Linux";
  if (spawnSync("g++", ["--version"]).status !== 0) return "g++ is not there";
  const defined = spawnSync("nm", ["-D", "--defined-only", process.execPath], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (defined.status !== 0) return "nm is not there";
  return / _Znwm(@|$)/m.test(defined.stdout) ? "this node has an operator new of its own" : null;
}

/** @returns how many allocations were refused, and what is wrong */
export function refuseHost(names, points, seconds = 3600) {
  const folder = mkdtempSync(join(tmpdir(), "firesteel-host-"));
  try {
    const library = join(folder, "refuse_host.so");
    const flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-o", library];
    const built = spawnSync("g++", [...flags, here("refuse_host.cc"), "-ldl"], {
      encoding: "utf8",
    });
    if (built.status !== 0) return { refused: 0, findings: [built.stderr] };
    const shared = join(folder, "shared");
    writeFileSync(shared, new Uint8Array(8));
    // Temporary folders are the parent's to remove: the child may not live to do it.
    const env = { ...process.env, LD_PRELOAD: library, FIRESTEEL_REFUSE: shared, TMPDIR: folder };
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      [here("hostChild.mjs"), JSON.stringify({ names, points })],
      { env, encoding: "utf8", timeout: 1000 * seconds, maxBuffer: 2 ** 28 },
    );
    const last = stdout.trim().split("\n").at(-1);
    if (status === 0) return JSON.parse(last);
    const what = `the process ended with ${signal ?? `exit code ${status}`} after: ${last}`;
    return { refused: 0, findings: [`${what}\n${stderr.slice(-2000)}`] };
  } finally {
    if (existsSync(folder) && readdirSync(folder)) rmSync(folder, { recursive: true });
  }
}
