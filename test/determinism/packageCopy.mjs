import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of the package in a folder that has one addon alone, which its loader then finds. */
export function packageCopy(folder, addon) {
  mkdirSync(join(folder, "out", "Release"), { recursive: true });
  for (const name of ["dist", "package.json"]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  cpSync(addon, join(folder, "out", "Release", "firesteel.node"));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  return folder;
}
