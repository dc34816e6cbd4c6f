import { accessSync, constants, mkdtempSync, renameSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Command } from "commander";
import {
  type BinaryPlace,
  buildPlaces,
  makeFolders,
  packageFolder,
} from "../engine/binaryPlaces.js";
import { deviceTrial, driverLibrary } from "../engine/cudaTrial.js";
import { FiresteelError } from "../index.js";
import { type BuildTools, findTools } from "./buildTools.js";
import { runTool } from "./runTool.js";
import { statusLine, type Terminal } from "./terminal.js";

interface BuildFlags {
  cuda?: true;
  json?: true;
}

/** The first place that can be written to. @throws FiresteelError ERR_NO_DEVICE */
function writable(places: readonly BinaryPlace[]): string {
  const refused: string[] = [];
  for (const { path } of places) {
    try {
      makeFolders(dirname(path));
      accessSync(dirname(path), constants.W_OK);
      return path;
    } catch (error) {
      refused.push(`  ${(error as Error).message}`);
    }
  }
  const message = `Expected a folder for what is built but none can be written to:\n${refused.join("\n")}`;
  throw new FiresteelError("ERR_NO_DEVICE", message);
}

/** Configures, compiles and loads in a folder beside `path`, then puts the result there at once. */
async function compile(path: string, cuda: boolean, tools: BuildTools, terminal: Terminal) {
  const folder = mkdtempSync(join(dirname(path), ".build-"));
  const status = statusLine(terminal);
  // Ninja and make both say how far they are at the start of a line.
  const onLine = (line: string) => {
    const progress = /^\[\s*(\d+%|\d+\/\d+)\]/.exec(line)?.[1];
    status.show(progress === undefined ? "configuring" : `compiling ${progress}`);
  };
  try {
    const options = [`-DFIRESTEEL_CUDA=${cuda ? "ON" : "OFF"}`, `-DNODE=${process.execPath}`];
    const all = [...options, ...tools.options, "-DCMAKE_BUILD_TYPE=Release"];
    await runTool(tools.cmake, ["-S", packageFolder, "-B", folder, ...all], onLine);
    const target = basename(path, ".node");
    const parallel = ["--parallel", String(availableParallelism())];
    await runTool(tools.cmake, ["--build", folder, "--target", target, ...parallel], onLine);
    status.show("loading what was built");
    const built = join(folder, "Release", basename(path));
    const trial = cuda && driverLibrary() === null ? loads : deviceTrial;
    await runTool(process.execPath, ["-e", trial, built], () => {});
    renameSync(built, path);
  } finally {
    status.clear();
    rmSync(folder, { recursive: true, force: true });
  }
}

const loads = "require(process.argv[1]).initialize(Error);";

export function registerBuild(program: Command, terminal: Terminal): void {
  program
    .command("build")
    .description("compile the native code on this machine, from the sources in the package")
    .option("--cuda", "the CUDA addon; default: the CPU's")
    .option("--json", "{backend, path, seconds, compiler, cmake} as an object")
    .addHelpText(
      "after",
      `
Examples:
  firesteel build
  firesteel build --cuda

Needs CMake 3.18, Ninja or make, a C++17 compiler, and for --cuda NVIDIA's nvcc. What it makes is loaded
once before it takes its place: the package's folder, or where that is read-only the user's cache. CXX
and CUDACXX choose compilers, FIRESTEEL_ARCHITECTURES=80,90 the cards; default: those of this machine, or
where there are none all from 8.0 on. Takes a minute, with --cuda several.`,
    )
    .action(async ({ cuda = false, json }: { cuda?: boolean } & Omit<BuildFlags, "cuda">) => {
      const tools = findTools(cuda);
      const backend = cuda ? "cuda" : "cpu";
      const path = writable(buildPlaces(backend));
      const started = performance.now();
      if (!terminal.interactive) terminal.err(`compiling with ${tools.compiler}\n`);
      await compile(path, cuda, tools, terminal);
      const seconds = (performance.now() - started) / 1000;
      const { compiler, cmake } = tools;
      const report = { backend, path, seconds, compiler, cmake };
      if (json) terminal.out(`${JSON.stringify(report)}\n`);
      else terminal.out(`${path}: built in ${seconds.toFixed(0)} s, and it loads\n`);
      if (cuda && driverLibrary() === null) {
        terminal.err("There is no NVIDIA driver on this machine: it was loaded, not run.\n");
      }
    });
}
