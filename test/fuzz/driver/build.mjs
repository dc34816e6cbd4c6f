import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const source = join(here, "driver.cc");
const built = join(here, "..", "..", "..", "out", "fuzz", "driver.node");

/**
 * What a process needs in its environment for Jazzer.js to find libFuzzer: nothing where its prebuilt addon
 * loads, else our build of it.
 *
 * @returns `reason` where there is neither
 */
export function driverEnvironment() {
  const trial = spawnSync(process.execPath, ["-e", 'require("@jazzer.js/core")'], { cwd: here });
  if (trial.status === 0) return { env: {} };
  const reason = build();
  if (reason !== null) return { reason };
  const preload = `--require ${JSON.stringify(join(here, "preload.cjs"))}`;
  const options = [process.env.NODE_OPTIONS, preload].filter(Boolean).join(" ");
  return { env: { NODE_OPTIONS: options, FIRESTEEL_FUZZ_DRIVER: built } };
}

function build() {
  if (existsSync(built) && statSync(built).mtimeMs > statSync(source).mtimeMs) return null;
  const compiler = spawnSync("clang++", ["--print-resource-dir"], { encoding: "utf8" });
  if (compiler.status !== 0)
    return "Jazzer.js' own libFuzzer does not load here, and there is no clang++";
  const arch = process.arch === "x64" ? "x86_64" : "aarch64";
  const library = `lib/linux/libclang_rt.fuzzer_no_main-${arch}.a`;
  const archive = join(compiler.stdout.trim(), library);
  if (!existsSync(archive)) return `clang++ has no libFuzzer (${library})`;
  const headers = [require("node-addon-api").include_dir, require("node-api-headers").include_dir];
  mkdirSync(dirname(built), { recursive: true });
  execFileSync(
    "clang++",
    [
      ...[
        "-std=c++17",
        "-O1",
        "-fPIC",
        "-shared",
        "-DNAPI_VERSION=8",
        "-DNAPI_DISABLE_CPP_EXCEPTIONS",
      ],
      ...headers.map((folder) => `-I${folder}`),
      ...[
        source,
        "-Wl,--whole-archive",
        archive,
        "-Wl,--no-whole-archive",
        "-lpthread",
        "-o",
        built,
      ],
    ],
    { stdio: "inherit" },
  );
  return null;
}
