import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { registerBudgets, rowKernels } from "./cudaBudgets.js";

const root = join(fileURLToPath(import.meta.url), "../../..");
const native = join(root, "native");
const objects = join(root, "out/CMakeFiles/firesteel_cuda.dir/native");
const folders = readdirSync(native, { recursive: true, encoding: "utf8" })
  .filter((name) => /^(gemm|kernels|nn)\/.*\.cu$/.test(name))
  .map((name) => dirname(name))
  .sort();

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

/** What the build left beside the objects (scripts/ptxasReport.sh). */
describe("CUDA sources under nvcc", () => {
  if (!existsSync(objects)) {
    it.skip("not compiled: no nvcc", () => {});
  } else {
    it.each(folders)("%s: spills, registers, atomics, width of loads", (folder) => {
      const object = join(objects, folder, "cuda.cu.o");
      const kernels = kernelsIn(folder, readFileSync(`${object}.ptxas`, "utf8"));
      expect(kernels.length).toBeGreaterThan(0);
      for (const { name, architecture, registers, spilled } of kernels) {
        const what = `${name} for ${architecture}`;
        expect(spilled, `${what}: bytes spilled`).toBe(0);
        expect(registers, `${what}: registers`).toBeLessThanOrEqual(
          registerBudgets[name] ?? registerBudgets.default!,
        );
      }

      const listings = readdirSync(`${object}.ptx`);
      expect(listings.length).toBeGreaterThan(0);
      for (const listing of listings) {
        const ptx = readFileSync(join(`${object}.ptx`, listing), "utf8");
        expect(ptx).toContain(".entry");
        expect(ptx).not.toMatch(/\b(atom|red)\.\S*\.(b?f16|bf16|f32|f64)\b/);
        if (!rowKernels.includes(folder)) continue;
        // 16 bytes: four words, or two of eight bytes.
        expect(ptx).toMatch(/ld\.global\S*\.(v4\.[a-z]32|v2\.[a-z]64|b128)/);
        expect(ptx).toMatch(/st\.global\S*\.(v4\.[a-z]32|v2\.[a-z]64|b128)/);
      }
    });
  }

  it("budgets name kernels that exist", () => {
    const listed = Object.keys(registerBudgets).filter((name) => name !== "default");
    for (const name of listed) {
      const folder = join(native, dirname(name));
      const texts = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
      expect(texts.join("\n")).toMatch(new RegExp(`\\b${basename(name)}\\(`));
    }
    for (const folder of rowKernels) expect(folders).toContain(folder);
  });
});
