import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const objects = join(fileURLToPath(import.meta.url), "../../../out/CMakeFiles");

/** Symbols that other objects can see: the linker would keep one of several definitions of a weak one. */
function definedIn(object: string): string[] {
  const { stdout, status } = spawnSync("nm", ["-C", "-g", "--defined-only", object], {
    encoding: "utf8",
  });
  expect(status).toBe(0);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/^\S+ \S /, ""));
}

// What is compiled with AVX-512 must not stand in for what is compiled without: an object of one
// instruction set defines its table and nothing else.
describe("objects of one instruction set define nothing but their table", () => {
  const isas = ["sse2", "avx2", "avx512", "neon"].filter((isa) =>
    existsSync(join(objects, `firesteel_${isa}.dir`)),
  );
  const works = spawnSync("nm", ["--version"]).status === 0;
  if (!works || isas.length === 0)
    it.skip("not checked: no nm, or no objects of a build", () => {});
  for (const isa of works ? isas : []) {
    const folder = join(objects, `firesteel_${isa}.dir`);
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith("simd.cc.o"),
    );
    it(`${isa}: ${files.length} objects`, () => {
      expect(files.length).toBeGreaterThan(5);
      for (const file of files) {
        const symbols = definedIn(join(folder, file));
        expect(symbols, file).toEqual([
          expect.stringMatching(new RegExp(`^firesteel::${isa}::\\w+_table$`)),
        ]);
        expect(basename(file)).toBe("simd.cc.o");
      }
    });
  }
});
