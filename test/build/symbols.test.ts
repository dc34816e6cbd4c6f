import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const binaries = [
  "out/Release/firesteel.node",
  "out/Release/firesteel-cuda.node",
  "prebuilds/linux-x64/firesteel.glibc.node",
  "prebuilds/linux-x64/firesteel-cuda.node",
].filter((name) => existsSync(join(root, name)));

/** What RHEL 8, Debian 10 and Ubuntu 20.04 all have. */
const newest: Readonly<Record<string, string>> = {
  GLIBC: "2.28",
  GLIBCXX: "3.4.25",
  CXXABI: "1.3.11",
  GCC: "8.0.0",
};

const works =
  process.platform === "linux" &&
  process.arch === "x64" &&
  spawnSync("objdump", ["--version"]).status === 0;

describe("addons ask for no younger C or C++ library", () => {
  if (!works) it.skip("not checked: no objdump, or not x86-64 Linux", () => {});
  for (const name of works ? binaries : []) {
    it(name, () => {
      const { stdout, status } = spawnSync("objdump", ["-T", join(root, name)], {
        encoding: "utf8",
        maxBuffer: 1 << 26,
      });
      expect(status).toBe(0);
      const asked = [...stdout.matchAll(/\*UND\*\s+\w+\s+\((\w+?)_([\d.]+)\)\s+(\S+)/g)];
      expect(asked.length).toBeGreaterThan(50);
      const younger = asked.filter(([, library, version]) => {
        const limit = newest[library!];
        expect(limit, library).toBeDefined();
        return version!.localeCompare(limit!, "en", { numeric: true }) > 0;
      });
      expect(
        younger.map(([, library, version, symbol]) => `${symbol}@${library}_${version}`),
      ).toEqual([]);
    });
  }
});
