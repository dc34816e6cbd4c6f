// Packs what a GPU host without Node and without network needs into one archive: the Node binary
// that runs this script, the native sources, the compiled TypeScript, the packages of the build and
// of run time, the Python peers of the benchmark, and run.sh, which builds and measures there.
//   node scripts/gpu-bundle/pack.mjs [FILE.tar.xz] [--without-node]
// Needs tar and xz, and dist (npm run build:ts). The host needs nvcc, CMake and g++.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const withoutNode = process.argv.includes("--without-node");
const file = resolve(
  process.argv.slice(2).find((x) => !x.startsWith("--")) ?? "firesteel-gpu.tar.xz",
);
const limit = 60e6;

function run(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, ...options });
  if (done.status === 0) return done.stdout;
  console.error(`gpu-bundle: ${command} ${args.join(" ")} failed: ${done.error ?? done.stderr}`);
  process.exit(1);
}

/** Packages that the engine imports, and those that CMake asks for headers. */
function packages() {
  const { packages: locked } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const names = Object.keys(locked).filter((name) => name !== "" && !locked[name].dev);
  return [...names, "node_modules/node-addon-api", "node_modules/node-api-headers"];
}

if (!existsSync(join(root, "dist", "cli", "main.js"))) {
  console.error("gpu-bundle: there is no dist; run npm run build:ts first");
  process.exit(1);
}
const tracked = ["native", "CMakeLists.txt", "package.json", "bench", "LICENSE"];
const sources = run("git", ["ls-files", "-z", "--", ...tracked], { cwd: root }).split("\0");
const stage = mkdtempSync(join(tmpdir(), "firesteel-bundle-"));
try {
  const into = join(stage, "firesteel");
  for (const name of [...sources.filter(Boolean), "dist", ...new Set(packages())]) {
    if (name.startsWith("bench/results/")) continue;
    cpSync(join(root, name), join(into, name), { recursive: true });
  }
  cpSync(join(root, "scripts", "gpu-bundle", "run.sh"), join(into, "run.sh"));
  if (!withoutNode) {
    cpSync(process.execPath, join(into, "bin", "node"));
    run("strip", [join(into, "bin", "node")]);
  }
  run("tar", ["-C", stage, "-cJf", file, "firesteel"], {
    env: { ...process.env, XZ_OPT: "-T0 -6" },
  });
} finally {
  rmSync(stage, { recursive: true });
}
const { size } = statSync(file);
console.log(`gpu-bundle: ${file}, ${(size / 1e6).toFixed(1)} MB`);
if (size > limit) {
  console.error(`gpu-bundle: expected at most ${limit / 1e6} MB`);
  process.exit(1);
}
