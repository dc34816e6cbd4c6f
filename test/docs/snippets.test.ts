import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { format } from "node:util";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { pages, root, type Snippet, snippetsOf } from "./snippets.js";

const snippets = pages().flatMap(snippetsOf);
const folder = join(root, "out", "snippets");
const fileOf = ({ place }: Snippet) =>
  join(folder, `${place.replace(/\W+/g, "-").replace(/^-/, "")}.ts`);

/** The sources, as an import of the package reads them. */
const sources: Record<string, string> = {
  firesteel: "src/index.ts",
  "firesteel/blocks": "src/blocks/index.ts",
  "firesteel/nn": "src/nn/index.ts",
};

/** A page leaves out what is the reader's own: names that it does not define are that. */
const readersOwn = new Set([
  2304, // Cannot find name
  2552, // Cannot find name, did you mean another
  18004, // no value in scope for a shorthand property
]);

beforeAll(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const snippet of snippets) {
    const text = snippet.text.replace(/"(firesteel(?:\/\w+)?)"/g, (_, name: string) =>
      JSON.stringify(join(root, sources[name]!)),
    );
    // An export makes every one a module, where `await` may stand at the top.
    writeFileSync(fileOf(snippet), `${text}\nexport {};\n`);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("there are snippets to check, on pages that exist", () => {
  expect(snippets.filter(({ prints }) => prints.length > 0).length).toBeGreaterThanOrEqual(6);
});

test("what pages show is what the library takes: types and options as they are", () => {
  const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config;
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const program = ts.createProgram(snippets.map(fileOf), {
    ...options,
    noUnusedLocals: false,
    noUncheckedIndexedAccess: false,
    allowImportingTsExtensions: true,
    incremental: false,
    tsBuildInfoFile: undefined,
  });
  const wrong = snippets.flatMap((snippet) => {
    const source = program.getSourceFile(fileOf(snippet))!;
    const found = [
      ...program.getSyntacticDiagnostics(source),
      ...program.getSemanticDiagnostics(source),
    ].filter(({ code }) => !readersOwn.has(code));
    return found.map(({ messageText, start }) => {
      const { line } = source.getLineAndCharacterOfPosition(start ?? 0);
      const text = source.text.split("\n")[line]!.trim();
      return `${snippet.place}: ${ts.flattenDiagnosticMessageText(messageText, " ")} (${text})`;
    });
  });
  expect(wrong).toEqual([]);
}, 300_000);

describe("a page prints what it says", () => {
  const run = snippets.filter(({ prints }) => prints.length > 0);

  test.each(run.map((snippet) => [snippet.place, snippet] as const))(
    "%s",
    async (_, snippet) => {
      const printed: string[] = [];
      const log = vi
        .spyOn(console, "log")
        .mockImplementation((...values) => void printed.push(...format(...values).split("\n")));
      const before = process.cwd();
      const work = join(dirname(fileOf(snippet)), "work");
      mkdirSync(work, { recursive: true });
      try {
        process.chdir(work);
        await import(/* @vite-ignore */ fileOf(snippet));
      } finally {
        process.chdir(before);
        log.mockRestore();
        rmSync(work, { recursive: true });
      }
      expect(printed).toEqual(snippet.prints);
    },
    300_000,
  );
});
