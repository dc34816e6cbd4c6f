import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const src = join(root, "src");

/** What a folder of src may import besides itself and contract, directly or through others. */
const below: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  engine: [],
  files: ["engine"],
  statistics: ["engine"],
  options: ["engine"],
  verifiers: ["engine"],
  data: ["verifiers", "options", "statistics", "files", "engine"],
  reference: [],
  nn: ["engine"],
  policies: ["nn", "files", "engine"],
  weights: ["files", "engine"],
  samplers: ["weights", "options", "files", "engine"],
  serve: ["weights", "policies", "nn", "options", "files", "engine"],
  forms: ["verifiers", "engine"],
  tasks: ["forms", "verifiers", "engine"],
  blocks: ["forms", "verifiers", "options", "statistics", "engine"],
  systems: ["blocks", "forms", "verifiers", "options", "statistics", "engine"],
  trainer: ["nn", "options", "statistics", "files", "engine"],
  report: ["statistics", "files", "engine"],
  score: ["trainer", "nn", "options", "statistics", "files", "engine"],
  verify: ["reference", "engine"],
  bench: ["verify", "reference", "engine"],
  // The command line and the files at the top bind names to what they stand for.
  cli: ["*"],
  replicate: ["*"],
  ".": ["*"],
};

/** The same for native code. */
const nativeBelow: Readonly<Record<string, readonly string[]>> = {
  runtime: [],
  gemm: ["runtime"],
  kernels: ["gemm", "runtime"],
  nn: ["gemm", "runtime"],
  addon: ["nn", "kernels", "gemm", "runtime"],
  emulator: ["runtime"],
};

function filesUnder(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));
}

/** Everything a module imports or re-exports, types included. */
function importsOf(path: string): string[] {
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const from =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined;
    if (from !== undefined && ts.isStringLiteral(from)) found.push(from.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function folderOf(path: string): string {
  const [first, ...rest] = relative(src, path).split("/");
  return rest.length === 0 ? "." : first!;
}

const modules = filesUnder(src, /\.ts$/);

describe("imports go one way", () => {
  test("every folder of src has its place", () => {
    expect([...new Set(modules.map(folderOf))].filter((folder) => !(folder in below))).toEqual([]);
  });

  test.each(modules.map((path) => relative(src, path)))("%s", (name) => {
    const path = join(src, name);
    const own = folderOf(path);
    const allowed = below[own] ?? [];
    const wrong = importsOf(path)
      .filter((specifier) => specifier.startsWith("."))
      .map((specifier) => resolve(dirname(path), specifier))
      .filter((target) => {
        const folder = folderOf(target);
        return ![own, "contract", ...allowed].includes(folder) && !allowed.includes("*");
      });
    expect(wrong.map((target) => relative(src, target))).toEqual([]);
  });

  test("contract holds types alone and imports no package", () => {
    for (const path of filesUnder(join(src, "contract"), /\.ts$/)) {
      expect(importsOf(path).filter((specifier) => !specifier.startsWith("./"))).toEqual([]);
      const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest);
      const { outputText } = ts.transpileModule(source.text, {
        compilerOptions: { module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
      });
      expect(outputText.replace(/export \{\};|\/\*\*[\s\S]*?\*\//g, "").trim()).toBe("");
    }
  });

  test("only the top and the command line reach concrete systems and tasks", () => {
    const reaching = modules.filter((path) =>
      importsOf(path).some((specifier) => /(^|\/)(systems|tasks)\/index\.js$/.test(specifier)),
    );
    expect(reaching.map(folderOf).every((folder) => folder === "." || folder === "cli")).toBe(true);
  });
});

describe("native includes go one way", () => {
  const sources = filesUnder(join(root, "native"), /\.(h|cc|cu)$/);

  test.each(Object.keys(nativeBelow))("%s", (folder) => {
    const own = sources.filter((path) => path.startsWith(join(root, "native", folder)));
    expect(own.length).toBeGreaterThan(0);
    for (const path of own) {
      const text = readFileSync(path, "utf8");
      const included = [...text.matchAll(/^#include "([a-z_]+)\//gm)].map(([, first]) => first!);
      // The CUDA layer names the emulator's headers where it is compiled for it.
      const allowed = [
        folder,
        ...nativeBelow[folder]!,
        ...(folder === "runtime" ? ["emulator"] : []),
      ];
      expect(
        included.filter((first) => !allowed.includes(first)),
        relative(root, path),
      ).toEqual([]);
    }
  });

  test("only the addon sees Node", () => {
    const seeing = sources.filter((path) =>
      /#include [<"](napi|node_api|js_native_api|node)\b/.test(readFileSync(path, "utf8")),
    );
    const elsewhere = seeing.filter((path) => !path.startsWith(join(root, "native", "addon")));
    expect(elsewhere.map((path) => relative(root, path))).toEqual([]);
  });
});
