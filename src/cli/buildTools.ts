import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { FiresteelError } from "../index.js";

/** What compiles the native code. */
export interface BuildTools {
  cmake: string;
  /** The C++ compiler. */
  compiler: string;
  /** What CMake is told of them. */
  options: string[];
}

/** CMakeLists.txt asks for it. */
const oldestCmake = [3, 18] as const;

/** How each family of systems installs the tools; the keys stand in ID or ID_LIKE of /etc/os-release. */
const packages: Readonly<Record<string, string>> = {
  debian: "apt-get install cmake ninja-build g++",
  fedora: "dnf install cmake ninja-build gcc-c++",
  rhel: "dnf install cmake ninja-build gcc-c++",
  suse: "zypper install cmake ninja gcc-c++",
  arch: "pacman -S cmake ninja gcc",
  alpine: "apk add cmake samurai g++ linux-headers",
};

/**
 * Looks for everything that a build needs before it starts, and names all that is missing at once.
 *
 * @throws FiresteelError ERR_NO_DEVICE
 */
export function findTools(cuda: boolean): BuildTools {
  const missing: string[] = [];
  const version = firstLine("cmake", ["--version"]);
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(version ?? "") ?? []).slice(1).map(Number);
  if (version === null) missing.push("cmake");
  else if (major < oldestCmake[0] || (major === oldestCmake[0] && minor < oldestCmake[1])) {
    missing.push(`cmake ${oldestCmake.join(".")} or later (there is ${major}.${minor})`);
  }
  const ninja = ["ninja", "samu"].find((name) => firstLine(name, ["--version"]) !== null);
  if (ninja === undefined && firstLine("make", ["--version"]) === null)
    missing.push("ninja or make");
  const given = process.env.CXX;
  const compiler = (given ? [given] : ["c++", "g++", "clang++"]).find(
    (name) => firstLine(name, ["--version"]) !== null,
  );
  if (compiler === undefined) {
    missing.push(
      given ? `the C++ compiler that CXX names (${given})` : "a C++ compiler (g++ or clang++)",
    );
  }
  const nvcc = cuda ? findNvcc() : null;
  if (cuda && nvcc === null)
    missing.push("nvcc, of NVIDIA's CUDA toolkit (PATH, CUDACXX, CUDA_HOME)");
  if (missing.length > 0 || compiler === undefined) {
    throw new FiresteelError(
      "ERR_NO_DEVICE",
      `Cannot build without ${missing.join(", ")}\n${howToInstall(cuda)}`,
    );
  }
  const options = [
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    ...(ninja === undefined ? [] : ["-GNinja", `-DCMAKE_MAKE_PROGRAM=${ninja}`]),
    ...(nvcc === null ? [] : [`-DCMAKE_CUDA_COMPILER=${nvcc}`, ...architectures()]),
  ];
  return { cmake: "cmake", compiler, options };
}

/** What a tool says first; null where it cannot be run. */
function firstLine(command: string, args: readonly string[]): string | null {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? stdout.split("\n")[0]! : null;
}

function findNvcc(): string | null {
  const { CUDACXX, CUDA_HOME, CUDA_PATH } = process.env;
  const homes = [CUDA_HOME, CUDA_PATH, "/usr/local/cuda"].filter(Boolean);
  const candidates = [
    ...(CUDACXX ? [CUDACXX] : []),
    "nvcc",
    ...homes.map((home) => `${home}/bin/nvcc`),
  ];
  return candidates.find((path) => firstLine(path, ["--version"]) !== null) ?? null;
}

/** For the cards named or found: compiling for all that there are takes three times as long. */
function architectures(): string[] {
  const named = process.env.FIRESTEEL_ARCHITECTURES?.split(",").filter(Boolean);
  const query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
  const { status, stdout } = spawnSync("nvidia-smi", query, { encoding: "utf8" });
  const found = status === 0 ? (stdout.match(/^\d+\.\d+$/gm) ?? []) : [];
  const wanted = named ?? found.map((capability) => capability.replace(".", ""));
  if (wanted.length === 0) return [];
  return [`-DCMAKE_CUDA_ARCHITECTURES=${[...new Set(wanted)].map((x) => `${x}-real`).join(";")}`];
}

function howToInstall(cuda: boolean): string {
  const toolkit = cuda ? "\nThe CUDA toolkit: https://developer.nvidia.com/cuda-downloads" : "";
  if (process.platform === "darwin")
    return `Try: xcode-select --install; brew install cmake ninja${toolkit}`;
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const kinds = [...release.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)"?$/gm)].flatMap(([, x]) =>
    x!.split(/\s+/),
  );
  const command = kinds.map((kind) => packages[kind]).find((x) => x !== undefined);
  return (
    (command === undefined ? "Install them with this system's packages." : `Try: ${command}`) +
    toolkit
  );
}
