// Builds the addons with cmake-js into out/Release. Quiet when all is well.
//   node scripts/buildNative.mjs [--tests]   --tests: the emulated addon too
// FIRESTEEL_ARCHITECTURES=80,90 compiles the CUDA sources for these alone.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const cmakeJs = join(
  dirname(createRequire(import.meta.url).resolve("cmake-js/package.json")),
  "bin",
  "cmake-js",
);

// make, unlike ninja, builds one file at a time unless told otherwise.
const env = { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env };

/** @returns the seconds that it took */
function run(command, args) {
  const started = Date.now();
  const result = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status !== 0) {
    process.stderr.write(result.stdout ?? "");
    process.stderr.write(result.stderr ?? "");
    console.error(`firesteel: ${command} ${args.join(" ")} failed`);
    process.exit(1);
  }
  return (Date.now() - started) / 1000;
}

const cacheFile = join(root, "out", "CMakeCache.txt");
/** What CMake remembers under a name; null where it is not there or was not found. */
function cached(name) {
  const value = new RegExp(`^${name}:\\w+=(.*)$`, "m").exec(readFileSync(cacheFile, "utf8"))?.[1];
  return value === undefined || value.endsWith("NOTFOUND") ? null : value;
}

const architectures = (process.env.FIRESTEEL_ARCHITECTURES ?? "").split(",").filter(Boolean);
const settings = {
  CMAKE_CUDA_COMPILER_LAUNCHER: join(root, "scripts", "ptxasReport.sh"),
  // Empty: all that CMakeLists.txt names.
  CMAKE_CUDA_ARCHITECTURES: architectures.map((name) => `${name}-real`).join(";"),
};
const fresh = !existsSync(cacheFile);
if (fresh) console.log("firesteel: building the native code (the first time takes a few minutes)");
else if (Object.entries(settings).some(([name, value]) => (cached(name) ?? "") !== value)) {
  // cmake-js configures once alone.
  run("cmake", ["-B", "out", ...Object.entries(settings).map((entry) => `-D${entry.join("=")}`)]);
}
const options = Object.entries(settings).map((entry) => `--CD${entry.join("=")}`);
let seconds = run(process.execPath, [
  ...[cmakeJs, "compile", "-O", "out", "--log-level", "warn"],
  ...options,
]);
if (process.argv.includes("--tests")) {
  seconds += run("cmake", ["--build", "out", "--target", "firesteel-emulated"]);
}
if (fresh) {
  const [nvcc, works] = [cached("nvcc"), cached("CMAKE_CUDA_COMPILER")];
  const cuda =
    works !== null
      ? `CUDA addon built with ${works}`
      : `${nvcc === null ? "nvcc not found" : `${nvcc} does not work`}, CUDA addon skipped`;
  console.log(`firesteel: native code built in ${seconds.toFixed(0)} s; ${cuda}`);
}
