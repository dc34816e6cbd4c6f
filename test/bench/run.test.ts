import { describe, expect, it } from "vitest";
import { normals } from "../../src/bench/inputs.js";
import type { BenchCase, KernelBench, Setting } from "../../src/bench/kernel.js";
import { plainJavaScript } from "../../src/bench/peers/plain.js";
import { kernelBenches } from "../../src/bench/registry.js";
import { benchCase, copiesOf, loadOf, withCeiling } from "../../src/bench/run.js";
import { benches } from "../../src/cli/benches.js";
import { scale } from "../../src/engine/nn/elementwise.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { close } from "../../src/verify/compare.js";
import { firesteel } from "../cli/terminal.js";

const onCpu: Setting = { device: "cpu", full: false };
const settings: Setting[] = [onCpu, { device: "cpu", full: true }, { device: "cuda", full: false }];
const single = kernelBenches.filter((bench): bench is KernelBench => !("measure" in bench));

/** y = 2 x, held against `factor` x. */
function doubling(factor: number): KernelBench<{ x: Tensor }> {
  return {
    name: "doubling",
    about: "a kernel of the tests",
    work: { "": { reads: "4*N", writes: "4*N", flops: "N" } },
    cases: () => [{ variant: "", dtype: "f32", shape: [256], sizes: { N: 256 } }],
    inputs: (c) => ({ x: normals(1, [c.sizes.N!], { different: 64 }) }),
    prepare: (_, tensors) => ({ x: tensors.x! }),
    run: (engine, { x }) => ({ y: scale(engine, 2, x) }),
    compared: () => ({ y: 4 }),
    check(got, { x }) {
      const want = x!.data.slice(0, 4) as Float32Array;
      return close(
        "y",
        got.y!,
        want.map((value) => factor * value),
        1e-6,
      );
    },
  };
}
const doublingCase = doubling(2).cases(onCpu)[0]!;

describe("the registry", () => {
  it("has names of their own, and sentences about them", () => {
    const names = benches.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, about } of benches) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(about.length).toBeGreaterThan(20);
    }
  });

  it.each(single.map((bench) => [bench.name, bench] as const))(
    "%s states the work of every case",
    (_, bench) => {
      for (const setting of settings) {
        const cases = bench.cases(setting);
        expect(cases.length).toBeGreaterThan(0);
        for (const c of cases) {
          const { reads, writes, flops } = loadOf(bench, c);
          expect(Math.min(reads, writes, flops)).toBeGreaterThan(0);
          expect(c.shape.every((size) => Number.isInteger(size) && size > 0)).toBe(true);
        }
        const used = new Set(cases.map(({ variant }) => variant));
        expect(Object.keys(bench.work).filter((variant) => !used.has(variant))).toEqual([]);
      }
    },
  );

  it("copies inputs so that caches are passed over, within memory", () => {
    const cold: BenchCase = { ...doublingCase, cold: true };
    expect(copiesOf(doublingCase, 1000, "cpu")).toBe(1);
    expect(copiesOf(cold, 2 ** 24, "cpu")).toBe(8);
    expect(copiesOf(cold, 1, "cpu")).toBe(32);
    for (const bench of single) {
      for (const c of bench.cases(onCpu)) {
        const { reads, writes } = loadOf(bench, c);
        expect((reads + writes) * copiesOf(c, reads + writes, "cpu")).toBeLessThan(2 ** 29);
      }
    }
  });

  it("log-prob's bytes and flops", () => {
    const bench = single.find(({ name }) => name === "log-prob")!;
    const c = bench.cases(onCpu).find(({ dtype }) => dtype === "bf16")!;
    expect(loadOf(bench, c)).toMatchObject({
      reads: 256 * (2 * 151_936 + 4),
      writes: 256 * 12,
      flops: 4 * 256 * 151_936,
    });
  });
});

describe("a case", () => {
  const options = { device: "cpu", budgetMs: 1 } as const;

  it("is checked, timed and counted", async () => {
    const measured = await benchCase(doubling(2), doublingCase, options);
    const { result } = measured;
    expect(result).toMatchObject({
      ...{ kernel: "doubling", device: "cpu", shape: [256], dtype: "f32" },
      ...{ bytes: 2048, flops: 256, ceiling: null, ofPeak: null, peers: {} },
    });
    expect(result.p20Ms).toBeLessThanOrEqual(result.medianMs);
    expect(result.medianMs).toBeLessThanOrEqual(result.p80Ms);
    expect(result.gbPerS).toBeCloseTo(2048 / result.medianMs / 1e6, 12);
    expect(result.peakMemoryBytes).toBeGreaterThanOrEqual(2048);
    const ceilings = {
      ...{ readGbPerS: 20, scaleGbPerS: 10, updateGbPerS: 10, gemmGflopPerS: 100, callMs: 1 },
    };
    const { ceiling, ofPeak } = withCeiling(measured, ceilings, 0);
    expect(ceiling).toBe("memory");
    expect(ofPeak).toBeCloseTo(result.gbPerS / 10, 9);
    const slow = withCeiling({ ...measured, reads: [8, 12] }, ceilings, 20); // memory gave half
    // Half of what is moved is read, at half of 20 GB/s; writing costs what it did.
    expect(slow.ofPeak).toBeCloseTo(result.gbPerS / 10, 9);
    expect(slow.readPace).toBe(0.5);
  });

  it("whose kernel is wrong is refused", async () => {
    const wrong = benchCase(doubling(3), doublingCase, options);
    await expect(wrong).rejects.toThrow(/^doubling f32 is wrong here, so it is not timed: y\[/);
    await expect(wrong).rejects.toMatchObject({ code: "ERR_NO_DEVICE" });
  });

  it("takes peers in turn, by name and with a ratio", async () => {
    const peer = {
      name: "someone",
      prepare: async () => null,
      time: async () => [],
      release: async () => {},
      close: () => {},
    };
    const slow = { ...peer, name: "slow", prepare: async () => ({ y: [] }) };
    const { result } = await benchCase(doubling(2), doublingCase, {
      ...options,
      peers: [peer, slow],
    });
    expect(Object.keys(result.peers)).toEqual(["slow"]);
    expect(result.peers.slow).toMatchObject({ medianMs: null, ratio: null });
  });
});

/** Sizes at which a kernel takes microseconds; formulas, inputs and references read them all the same. */
const smaller: Readonly<Record<string, Record<string, number>>> = {
  "log-prob": { T: 8, V: 1000 },
  "token-loss": { T: 8, V: 1000, R: 2 },
  "linear-log-prob": { T: 8, V: 320, H: 48 },
  matmul: { M: 32, N: 48, K: 64 },
  "group-norm": { R: 2 ** 14, G: 256 },
  surrogate: { T: 2 ** 14, R: 256 },
  kl: { T: 2 ** 14, R: 256 },
  "group-loss": { R: 8192 },
  divergence: { T: 4 },
  "flow-step": { B: 2, D: 256 },
  attention: { R: 2, L: 64, N: 4, D: 16 },
  "rms-norm": { R: 64, W: 96 },
  adamw: { N: 2 ** 16 },
};

describe("every kernel holds its own results against float64", () => {
  const all = single.flatMap((bench) =>
    bench.cases(onCpu).map((c) => [`${bench.name} ${c.variant} ${c.dtype}`, bench, c] as const),
  );
  it.each(all)("%s", async (_, bench, c) => {
    const sizes: Record<string, number> = { ...c.sizes, ...(c.small ? {} : smaller[bench.name]) };
    if (bench.name === "group-loss") sizes.G = sizes.R! / (c.variant === "dpo" ? 2 : 16);
    const peers = [plainJavaScript()];
    const options = { device: "cpu", threads: 2, budgetMs: 1, peers } as const;
    const { result } = await benchCase(bench, { ...c, sizes, cold: false }, options);
    expect(result.medianMs).toBeGreaterThan(0);
    // Where plain JavaScript does the work, it must be the same work.
    for (const { reason } of Object.values(result.peers)) expect(reason).toBeUndefined();
  });
});

describe("the command", () => {
  it("lists what there is", async () => {
    const { code, out } = await firesteel(["bench", "--list"]);
    expect(code).toBe(0);
    expect(out.trimEnd().split("\n")).toHaveLength(benches.length);
    const { out: json } = await firesteel(["bench", "kl", "--list", "--json"]);
    expect(JSON.parse(json)).toMatchObject([{ name: "kl" }]);
  });

  it("refuses kernels, devices and threads that there are not", async () => {
    const kernel = await firesteel(["bench", "log-prop"]);
    expect(kernel.code).toBe(2);
    expect(kernel.err).toContain('did you mean "log-prob"?');
    for (const args of [
      ["--device", "emulated"],
      ["--threads", "two"],
      ["--threads", "0"],
      ["--threads", "1.5"],
    ]) {
      const { code, err, out } = await firesteel(["bench", ...args]);
      expect([code, out]).toEqual([2, ""]);
      expect(err).toContain(args[0]!);
    }
  });

  it("prints an array of results with the keys that others read", async () => {
    const { code, out, err } = await firesteel(["bench", "kl", "--json", "--device", "cpu"]);
    expect(err).toBe("");
    expect(code).toBe(0);
    const [result] = JSON.parse(out);
    for (const key of [
      ...["kernel", "device", "shape", "dtype", "medianMs", "bytes", "flops", "gbPerS", "ofPeak"],
      ...["peers", "threads", "p20Ms", "p80Ms", "samples", "gflopPerS", "ceiling"],
      "peakMemoryBytes",
    ]) {
      expect(result).toHaveProperty(key);
    }
    expect(result.ofPeak).toBeGreaterThan(0);
  }, 240_000); // it measures the machine's ceilings, which takes long where others do the same
});
