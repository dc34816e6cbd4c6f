import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { foundGlibc, loadProblem, neededVersions } from "../../src/engine/binaryFile.js";
import { readElf } from "../../src/engine/elf.js";

const folder = mkdtempSync(join(tmpdir(), "firesteel-elf-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** An executable of one segment, which names its loader. */
function program(loader: string): string {
  const bytes = Buffer.alloc(512);
  bytes.write("\x7fELF\x02\x01", "latin1");
  bytes.writeUInt16LE(183, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(3, 64);
  bytes.writeBigUInt64LE(200n, 64 + 8);
  bytes.writeBigUInt64LE(BigInt(loader.length + 1), 64 + 32);
  bytes.write(`${loader}\0rest`, 200, "latin1");
  const path = join(folder, "program");
  writeFileSync(path, bytes);
  return path;
}

describe("what is told of a binary", () => {
  it("its processor and the C library's loader, by which musl is known", () => {
    expect(readElf(program("/lib/ld-musl-aarch64.so.1"))).toMatchObject({
      arch: "arm64",
      interpreter: "/lib/ld-musl-aarch64.so.1",
    });
  });

  it("that it is none", () => {
    const path = join(folder, "text");
    for (const text of ["", "hello", "x".repeat(5000)]) {
      writeFileSync(path, text);
      expect(readElf(path)).toBeNull();
    }
  });

  it("the newest versions that it asks for", () => {
    const path = join(folder, "versions");
    writeFileSync(path, "\0GLIBC_2.4\0GLIBC_2.14\0GLIBC_2.2.5\0GLIBCXX_3.4.9\0GLIBCXX_3.4.21\0");
    expect(neededVersions(path)).toEqual({ glibc: "2.14", libstdcxx: "3.4.21" });
    expect(neededVersions(join(import.meta.dirname, "binaryFile.test.ts"))).toEqual({
      glibc: null,
      libstdcxx: null,
    });
  });
});

describe("what the system's loader says, in words that tell what to do", () => {
  it.each([
    [
      "/lib/libm.so.6: version `GLIBC_2.29' not found (required by /x/firesteel.node)",
      /^needs glibc 2\.29; this system has /,
    ],
    [
      "/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by /x.node)",
      /^needs GLIBCXX_3\.4\.30, which this system's libstdc\+\+ is too old for$/,
    ],
    [
      "libstdc++.so.6: cannot open shared object file: No such file or directory",
      /^needs libstdc\+\+\.so\.6, which is not installed$/,
    ],
    ["something else\nand more", /^something else$/],
  ])("%s", (said, told) => {
    expect(loadProblem(said)).toMatch(told);
  });

  it.runIf(readElf(process.execPath)?.interpreter?.includes("ld-linux"))(
    "the C library's version",
    () => {
      expect(foundGlibc()).toMatch(/^2\.\d+$/);
    },
  );
});
