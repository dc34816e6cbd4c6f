import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { kernelBenches } from "../../src/bench/registry.js";

const scripts = new URL("../../scripts/bench/", import.meta.url);
const load = (name: string) => import(new URL(name, scripts).href);
const { fill, machineSlug, performanceParts, resultsTable, targetsTable } =
  await load("markdown.mjs");
const { roofline } = await load("roofline.mjs");
const { scalingParts, scalingPlot } = await load("scaling.mjs");
const { exponent, sweeps } = await load("sweeps.mjs");

const result = (kernel: string, more: object = {}) => ({
  ...{ kernel, device: "cpu", threads: 2, shape: [256, 151_936], dtype: "f32" },
  ...{ medianMs: 4, p20Ms: 3.9, p80Ms: 4.2, samples: 22, bytes: 160e6, flops: 160e6 },
  ...{
    gbPerS: 40,
    gflopPerS: 40,
    ceiling: "memory",
    ofPeak: 0.8,
    readPace: 1,
    peakMemoryBytes: 2 ** 28,
  },
  ...{ peers: {} },
  ...more,
});
const run = {
  machine: {
    ...{ firesteel: "0.1.0", node: "v20.19.0", cpu: "A Processor(R) 9 | X", device: "cpu" },
    ...{ name: "avx512", threads: 2 },
  },
  ceilings: {
    ...{ readGbPerS: 50, scaleGbPerS: 40, updateGbPerS: 60, gemmGflopPerS: 300, callMs: 0.001 },
  },
  results: [
    result("log-prob forward", {
      peers: {
        slow: { medianMs: 40, ratio: 10 },
        near: { medianMs: 4.4, ratio: 1.1 },
        wrong: { medianMs: null, ratio: null, reason: "differs by 0.5" },
      },
    }),
    result("log-prob forward", { dtype: "bf16", gbPerS: 20, ofPeak: 0.4 }),
    result("matmul square", {
      ...{
        shape: [512, 512, 512],
        ceiling: "gemm",
        gflopPerS: 290,
        flops: 2 ** 28,
        bytes: 2 ** 21,
      },
      peers: { "numpy (openblas)": { medianMs: 3.2, ratio: 0.8 } },
    }),
    result("surrogate small", { medianMs: 0.008, p20Ms: 0.007, p80Ms: 0.009, ceiling: "call" }),
  ],
  missing: [{ name: "Liger", reason: "cards only" }],
};

describe("docs/performance.md", () => {
  const page = readFileSync(new URL("../../docs/performance.md", import.meta.url), "utf8");

  it("takes every part of a report, and keeps what is written by hand", () => {
    const parts = performanceParts(run, kernelBenches, "a-machine");
    const filled = fill(page, parts);
    expect(filled).toContain("performance/roofline-a-machine.svg");
    expect(filled).toContain("## What falls short, why, and the next lever");
    expect(filled).toContain("Not there when this was measured: Liger (cards only).");
    expect(fill(filled, parts)).toBe(filled);
    expect(() => fill("# Nothing", parts)).toThrow('no "<!-- generated: machine -->"');
  });

  it("shows time, rate, share and the nearest peer first", () => {
    const [, , first, , product, small] = resultsTable(run.results).split("\n");
    expect(first).toContain("| log-prob forward | f32 | 256 x 151936 | 4 ms (3.9 ms to 4.2 ms) |");
    expect(first).toContain(
      "| 40 GB/s | 80% of memory | 256 MiB | near 1.1, slow 10, wrong (differs by 0.5) |",
    );
    expect(product).toContain("| 290 GFLOP/s |");
    expect(small).toContain("| 8 us (7 us to 9 us) |");
  });

  it("holds targets against what was measured, and says what was not", () => {
    const lines = targetsTable(run).split("\n");
    const of = (text: string) => lines.find((line: string) => line.includes(text));
    expect(of("log-prob forward f32, of the read")).toMatch(/at least 0.8 x \| 0.8 x \| yes \|$/);
    expect(of("log-prob forward bf16")).toMatch(/at least 0.5 x \| 0.4 x \| \*\*no\*\* \|$/);
    expect(of("matmul 512, all threads")).toMatch(/0.8 x \| \*\*no\*\* \|$/);
    expect(of("surrogate of 64 x 16")).toMatch(/at most 10 us \| 8 us \| yes \|$/);
    expect(of("group-norm of 1M")).toMatch(/- \| not measured \|$/);
  });

  it("names files after the machine, not the host", () => {
    expect(machineSlug(run.machine)).toBe("a-processor-9-x-avx512-2-threads");
    expect(machineSlug({ ...run.machine, device: "cuda", name: "NVIDIA H200" })).toBe(
      "nvidia-h200",
    );
  });

  it("draws the kernels that have a roof", () => {
    const svg: string = roofline(run, "Roofline of a machine");
    expect(svg.match(/<circle/g)).toHaveLength(3);
    expect(svg).toContain("matmul square f32");
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg).toContain("prefers-color-scheme: dark");
  });
});

describe("docs/scaling.md", () => {
  const points = (power: number) =>
    [1024, 4096, 16_384, 65_536].map((size) => {
      return { size, ms: 0.002 + 1e-5 * size ** power, peak: 4 * size, rss: 2 ** 26 };
    });

  it("fits the exponent where work outweighs the call", () => {
    expect(Math.abs(exponent(points(1)) - 1)).toBeLessThan(0.02);
    expect(Math.abs(exponent(points(2)) - 2)).toBeLessThan(0.02);
  });

  it("has a row a sweep and a panel a sweep", () => {
    const threads = [1, 2].map((count) => ({ count, points: points(1) }));
    const measured = sweeps.map(({ name, of, fixed, want }: Record<string, unknown>) => {
      return { name, of, fixed, want, threads };
    });
    const { machine } = run;
    const page = readFileSync(new URL("../../docs/scaling.md", import.meta.url), "utf8");
    const filled = fill(page, scalingParts({ machine, measured }, "a-machine"));
    for (const { name } of sweeps) expect(filled).toContain(`| ${name} | `);
    const svg: string = scalingPlot(measured, "Scaling of a machine");
    expect(svg.match(/class="line s0"/g)).toHaveLength(sweeps.length);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
});
