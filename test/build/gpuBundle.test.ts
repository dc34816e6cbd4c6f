import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const folder = mkdtempSync(join(tmpdir(), "firesteel-bundle-test-"));
const unpacked = join(folder, "firesteel");
afterAll(() => rmSync(folder, { recursive: true }));

function run(command: string, args: string[], cwd = unpacked) {
  const done = spawnSync(command, args, { cwd, encoding: "utf8" });
  return { code: done.status, text: `${done.stdout}${done.stderr}` };
}

// All but the Node binary, whose compression takes a minute; run.sh finds another on the PATH.
const xz = spawnSync("xz", ["--version"]).status === 0;
if (!xz) console.log("the bundle for GPU hosts is not tested: there is no xz");

describe.skipIf(!xz)("the bundle for GPU hosts", () => {
  beforeAll(() => {
    const archive = join(folder, "bundle.tar.xz");
    const pack = join(root, "scripts", "gpu-bundle", "pack.mjs");
    const packed = run(process.execPath, [pack, archive, "--without-node"], root);
    expect(packed).toMatchObject({ code: 0 });
    expect(run("tar", ["xJf", archive], folder)).toMatchObject({ code: 0 });
  }, 60_000);

  it("configures and starts without the repository", () => {
    const options = ["-DFIRESTEEL_CUDA=OFF", "-Wno-dev"];
    expect(run("cmake", ["-S", ".", "-B", "out", ...options])).toMatchObject({ code: 0 });
    expect(run(process.execPath, ["dist/cli/main.js", "--version"])).toMatchObject({ code: 0 });
  });

  it("holds neither tests nor what was built here", () => {
    for (const name of [
      "test",
      ".git",
      "out/Release/firesteel.node",
      "node_modules/vitest",
      "bench/results",
    ]) {
      expect(existsSync(join(unpacked, name)), name).toBe(false);
    }
  });

  it("runs the stages asked for and says what passed", () => {
    const out = join(folder, "results");
    const { code, text } = run("./run.sh", ["--device", "cpu", "--out", out, "sanitize", "train"]);
    expect(code).toBe(1); // nothing was built, so training fails, and the other stage still ran
    expect(text).toContain("nothing to do");
    const stages = readFileSync(join(out, "stages.tsv"), "utf8");
    expect(stages).toMatch(/^stage\tresult\tseconds\ntrain\tfailed\t\d+\nsanitize\tpassed\t\d+\n$/);
  });

  it("refuses what it does not know", () => {
    expect(run("./run.sh", ["--device", "tpu"])).toMatchObject({
      code: 2,
      text: expect.stringContaining("expected cuda or cpu, received 'tpu'"),
    });
    expect(run("./run.sh", ["benchmark"])).toMatchObject({
      code: 2,
      text: expect.stringContaining("received benchmark"),
    });
    expect(run("./run.sh", ["--out"])).toMatchObject({ code: 2 });
  });
});
