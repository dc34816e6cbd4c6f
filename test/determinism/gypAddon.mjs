import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const require = createRequire(import.meta.url);

/** The CPU addon that prebuildify made of binding.gyp; null where there is none. */
export function prebuiltAddon() {
  const folder = join(root, "prebuilds", `${process.platform}-${process.arch}`);
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const file = files.find((name) => name.endsWith(".node") && !name.includes("cuda"));
  return file === undefined ? null : join(folder, file);
}

/**
 * Builds the CPU addon with node-gyp in a folder of its own: minutes on a busy machine.
 *
 * @returns null where node-gyp cannot, with its last words on stderr
 */
export function buildWithGyp(folder) {
  for (const name of ["native", "scripts", "binding.gyp", "package.json"]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const gyp = join(dirname(require.resolve("node-gyp/package.json")), "bin", "node-gyp.js");
  // Headers beside the running Node: nothing is downloaded.
  const headers = join(dirname(process.execPath), "..");
  const { status, stderr } = spawnSync(process.execPath, [gyp, "rebuild", `--nodedir=${headers}`], {
    cwd: folder,
    encoding: "utf8",
  });
  if (status === 0) return join(folder, "build", "Release", "firesteel.node");
  process.stderr.write(`${stderr.trim().split("\n").slice(-5).join("\n")}\n`);
  return null;
}
