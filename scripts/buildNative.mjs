// Builds the addons with cmake-js into out/Release. Quiet when all is well.
//   node scripts/buildNative.mjs [--tests]   --tests: the emulated addon and the native tests too
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

function run(command, args) {
  const started = Date.now();
  const result = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status !== 0) {
    process.stderr.write(result.stdout ?? "");
    process.stderr.write(result.stderr ?? "");
    console.error(`firesteel: ${command} ${args.join(" ")} failed`);
    process.exit(1);
  }
  return { output: result.stdout + result.stderr, seconds: (Date.now() - started) / 1000 };
}

const fresh = !existsSync(join(root, "out", "CMakeCache.txt"));
if (fresh) console.log("firesteel: building the native code (the first time takes a few minutes)");
const compiled = run(process.execPath, [cmakeJs, "compile", "-O", "out", "--log-level", "warn"]);
let seconds = compiled.seconds;
if (process.argv.includes("--tests")) {
  // Kernels are sized to fit the registers of every architecture; ptxas tells where one does not.
  const spilled = compiled.output.match(/.*Registers are spilled.*/g) ?? [];
  if (spilled.length > 0) {
    console.error(spilled.join("\n"));
    process.exit(1);
  }
  seconds += run("cmake", ["--build", "out", "--target", "firesteel-emulated"]).seconds;
}
if (fresh) {
  const cache = readFileSync(join(root, "out", "CMakeCache.txt"), "utf8");
  const found = (name) => {
    const value = new RegExp(`^${name}:\\w+=(.+)$`, "m").exec(cache)?.[1] ?? "NOTFOUND";
    return value.endsWith("NOTFOUND") ? null : value;
  };
  const [nvcc, works] = [found("nvcc"), found("CMAKE_CUDA_COMPILER")];
  const cuda =
    works !== null
      ? `CUDA addon built with ${works}`
      : `${nvcc === null ? "nvcc not found" : `${nvcc} does not work`}, CUDA addon skipped`;
  console.log(`firesteel: native code built in ${seconds.toFixed(0)} s; ${cuda}`);
}
