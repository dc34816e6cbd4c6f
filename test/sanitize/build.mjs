import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { run } from "./execute.mjs";

export const root = join(import.meta.dirname, "..", "..");

/** Whether a program is there. */
export function installed(program) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .some((folder) => existsSync(join(folder, program)));
}

/** Where doctest's headers lie, or null. */
export function doctestFolder() {
  const folders = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"];
  return folders.find((folder) => existsSync(join(folder, "doctest", "doctest.h"))) ?? null;
}

const ccache = installed("ccache") ? ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] : [];
const ninja = installed("ninja") ? ["-G", "Ninja"] : [];

/** From the first error on. */
function failureIn(output) {
  const lines = output.split("\n");
  const first = lines.findIndex((line) => /error/i.test(line));
  return lines.slice(Math.max(first, 0), Math.max(first, 0) + 14).join("\n");
}

/**
 * Configures a tree under out-sanitize and builds the targets in it.
 *
 * @param tree its folder's name
 * @param options of CMake, by name
 * @returns the tree's folder
 * @throws Error with the compiler's first error
 */
export function build(tree, options, targets, jobs) {
  const folder = join(root, "out-sanitize", tree);
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  const configure = [
    "-S",
    root,
    "-B",
    folder,
    ...ninja,
    ...ccache,
    "-DFIRESTEEL_CUDA=OFF",
    ...defined,
  ];
  const make = ["--build", folder, "--parallel", `${jobs}`, "--target", ...targets];
  for (const args of [configure, make]) {
    const { status, output } = run("cmake", args);
    if (status !== 0) throw new Error(`cmake ${args[0]} ${folder}:\n${failureIn(output)}`);
  }
  return folder;
}

/** A folder with doctest alone: a cross compiler must not see the other headers beside it. */
export function doctestAlone(tree) {
  const folder = join(root, "out-sanitize", tree, "include");
  mkdirSync(folder, { recursive: true });
  const link = join(folder, "doctest");
  if (!existsSync(link)) symlinkSync(join(doctestFolder(), "doctest"), link);
  return folder;
}
