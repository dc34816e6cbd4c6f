import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { registerBudgets, rowKernels } from "./cudaBudgets.js";

const run = promisify(execFile);
const native = join(fileURLToPath(import.meta.url), "../../../native");
const sources = readdirSync(native, { recursive: true, encoding: "utf8" })
  .filter((name) => /^(gemm|kernels|nn)\/.*\.cu$/.test(name))
  .map((name) => dirname(name))
  .sort();
const nvcc = ["nvcc", "/usr/local/cuda/bin/nvcc"].find(
  (path) => spawnSync(path, ["--version"]).status === 0,
);
/** The build compiles for all, and refuses spills: one shows registers and loads. */
const architectures = (process.env.FIRESTEEL_ARCHITECTURES ?? "90").split(",");
const flags = ["-std=c++17", "-I", native, "--fmad=false", "-Xcompiler", "-w", "-w"];

interface Kernel {
  name: string;
  architecture: string;
  registers: number;
  spilled: number;
}

/** ptxas -v: "Compiling entry function '<mangled>' for 'sm_90'", then spills, then registers. */
function kernelsIn(folder: string, report: string): Kernel[] {
  return report
    .split("Compiling entry function ")
    .slice(1)
    .map((part) => {
      const number = (pattern: RegExp) => Number(pattern.exec(part)?.[1] ?? Number.NaN);
      return {
        name: `${folder}/${/\d([a-z][a-z_]*_kernel)/.exec(part)?.[1]}`,
        architecture: /for '(\w+)'/.exec(part)![1]!,
        registers: number(/Used (\d+) registers/),
        spilled: number(/(\d+) bytes spill stores/),
      };
    });
}

describe("CUDA sources under nvcc", () => {
  let out: string;
  beforeAll(() => {
    out = mkdtempSync(join(tmpdir(), "firesteel-cuda-"));
  });
  afterAll(() => rmSync(out, { recursive: true }));

  if (nvcc === undefined) {
    it.skip("not compiled: no nvcc", () => {});
    return;
  }

  it.each(sources)(
    "%s: spills, registers, atomics, width of loads",
    async (folder) => {
      const kept = join(out, folder.replaceAll("/", "-"));
      mkdirSync(kept);
      const targets = architectures.map((a) => `-gencode=arch=compute_${a},code=sm_${a}`);
      const keep = ["--keep", "--keep-dir", kept, "--fatbin", "-o", join(kept, "cuda.fatbin")];
      const source = join(native, folder, "cuda.cu");
      const options = [...flags, ...targets, "-Xptxas", "-v", ...keep, source];
      const { stderr, stdout } = await run(nvcc, options, { maxBuffer: 2 ** 26 });

      const kernels = kernelsIn(folder, stderr + stdout);
      const compiled = new Set(kernels.map(({ architecture }) => architecture));
      expect([...compiled].sort()).toEqual(architectures.map((a) => `sm_${a}`).sort());
      for (const { name, architecture, registers, spilled } of kernels) {
        const what = `${name} for ${architecture}`;
        expect(spilled, `${what}: bytes spilled`).toBe(0);
        expect(registers, `${what}: registers`).toBeLessThanOrEqual(
          registerBudgets[name] ?? registerBudgets.default!,
        );
      }

      const listing = readdirSync(kept).find((name) => name.endsWith(".ptx"))!;
      const ptx = readFileSync(join(kept, listing), "utf8");
      expect(ptx).toContain(".entry");
      expect(ptx).not.toMatch(/\b(atom|red)\.\S*\.(b?f16|bf16|f32|f64)\b/);
      if (!rowKernels.includes(folder)) return;
      // 16 bytes: four words, or two of eight bytes.
      expect(ptx).toMatch(/ld\.global\S*\.(v4\.[a-z]32|v2\.[a-z]64|b128)/);
      expect(ptx).toMatch(/st\.global\S*\.(v4\.[a-z]32|v2\.[a-z]64|b128)/);
    },
    300_000,
  );

  it("budgets name kernels that exist", () => {
    const listed = Object.keys(registerBudgets).filter((name) => name !== "default");
    for (const name of listed) {
      const folder = join(native, dirname(name));
      const texts = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
      expect(texts.join("\n")).toMatch(new RegExp(`\\b${basename(name)}\\(`));
    }
    for (const folder of rowKernels) expect(sources).toContain(folder);
  });
});
