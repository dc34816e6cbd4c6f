// The package as users get it: a copy of what `files` names, packed, and installed into an empty folder.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "..", "..");
export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Runs a command. @throws with what it printed where it fails */
export function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, ...options });
  const { status = 0 } = options;
  if (done.error !== undefined) throw done.error;
  if (done.status !== status) {
    const how = done.signal ?? `exit code ${done.status}`;
    const text = `${done.stdout}${done.stderr}`.trim().slice(-4000);
    throw new Error(`${command} ${args.join(" ")}: ${how}, expected ${status}\n${text}`);
  }
  return done.stdout;
}

export const node = (args, options) => run(process.execPath, args, options);
const npm = (args, cwd) =>
  run("npm", args, { cwd, env: { ...process.env, npm_config_update_notifier: "false" } });

/**
 * Copies what would be packed, so that nothing in the repository changes, with prebuilds made by
 * prebuildify, or (`quick`) with the addons that stand in out/Release in their place.
 */
export function stage(folder, quick) {
  for (const name of ["package.json", "README.md", "LICENSE", ...manifest.files]) {
    if (name.startsWith("!") || name === "prebuilds") continue;
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  if (!quick) return node([join(root, "scripts", "prebuild.mjs"), "--out", folder]);
  const prebuilds = join(folder, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(prebuilds, { recursive: true });
  for (const [built, shipped] of [
    ["firesteel.node", "firesteel.glibc.node"],
    ["firesteel-cuda.node"],
  ]) {
    const from = join(root, "out", "Release", built);
    if (!existsSync(from)) continue;
    const to = join(prebuilds, shipped ?? built);
    cpSync(from, to);
    if (process.platform === "linux") run("strip", [to]);
  }
}

/** @returns the tarball's path, its size in bytes and the names in it */
export function pack(staged, into) {
  const [packed] = JSON.parse(
    npm(["pack", "--json", "--ignore-scripts", "--pack-destination", into], staged),
  );
  return {
    tarball: join(into, packed.filename),
    bytes: packed.size,
    names: packed.files.map(({ path }) => path),
  };
}

/**
 * Installs the tarball without scripts. The lockfile is the repository's, cut down to what the package
 * depends on: npm then takes the tarballs that `npm ci` has left in its cache and asks nobody.
 */
export function install(tarball, folder) {
  mkdirSync(folder, { recursive: true });
  const file = `file:${tarball}`;
  const own = {
    name: "consumer",
    version: "1.0.0",
    private: true,
    dependencies: { firesteel: file },
  };
  const { packages: locked, lockfileVersion } = JSON.parse(
    readFileSync(join(root, "package-lock.json"), "utf8"),
  );
  const { version, dependencies, bin, engines } = manifest;
  const packages = {
    "": own,
    "node_modules/firesteel": { version, resolved: file, dependencies, bin, engines },
  };
  for (const [name, entry] of Object.entries(locked)) {
    if (name !== "" && !entry.dev && !entry.optional) packages[name] = entry;
  }
  writeFileSync(join(folder, "package.json"), JSON.stringify(own));
  writeFileSync(
    join(folder, "package-lock.json"),
    JSON.stringify({ name: "consumer", lockfileVersion, requires: true, packages }),
  );
  npm(["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"], folder);
  return join(folder, "node_modules", "firesteel");
}

/** Every file below a folder. */
export function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

export function remove(folder) {
  rmSync(folder, { recursive: true, force: true });
}
