import { afterAll, describe, expect, it } from "vitest";
import { benchLogProb } from "../../src/bench/logProb.js";
import { summarize } from "../../src/bench/measure.js";
import { Engine } from "../../src/engine/engine.js";
import { firesteel } from "../cli/terminal.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

describe("the log-prob benchmark", () => {
  it("checks, times and counts bytes by formula", async () => {
    const ceiling = { readGbPerS: 10, scaleGbPerS: 5 };
    const results = await benchLogProb(engine, "f32", ceiling, { tokens: 4, peers: true });
    const [forward, backward] = results;
    expect(results.map(({ kernel }) => kernel)).toEqual(["log-prob forward", "log-prob backward"]);
    expect(forward).toMatchObject({ device: "cpu", shape: [4, 151936], dtype: "f32" });
    expect(forward!.bytes).toBe(4 * (151936 * 4 + 20));
    expect(backward!.bytes).toBe(4 * (2 * 151936 * 4 + 24));
    for (const r of results) {
      expect(r.gbPerS).toBeCloseTo(r.bytes / r.medianMs / 1e6, 9);
      expect(r.p20Ms).toBeLessThanOrEqual(r.medianMs);
      expect(r.medianMs).toBeLessThanOrEqual(r.p80Ms);
    }
    expect(forward!.ofPeak).toBeCloseTo(forward!.gbPerS / 10, 9);
    expect(backward!.ofPeak).toBeCloseTo(backward!.gbPerS / 5, 9);
    const peer = forward!.peers["plain JavaScript"]!;
    expect(peer.ratio).toBeCloseTo(peer.medianMs / forward!.medianMs, 9);
    expect(backward!.peers).toEqual({});
  });

  it("leaves nothing behind", async () => {
    const before = engine.memory().live;
    await benchLogProb(engine, "bf16", { readGbPerS: 1, scaleGbPerS: 1 }, { tokens: 4 });
    expect(engine.memory().live).toBe(before);
  });
});

it("a median and its spread", () => {
  const ms = [5, 1, 3, 2, 4, 6, 11, 8, 9, 10, 7];
  expect(summarize(ms)).toEqual({ medianMs: 6, p20Ms: 3, p80Ms: 9, samples: 11 });
});

it("bench refuses kernels and devices that there are not", async () => {
  const kernel = await firesteel(["bench", "log-prop"]);
  expect(kernel.code).toBe(2);
  expect(kernel.err).toContain('did you mean "log-prob"?');
  expect((await firesteel(["bench", "--device", "emulated"])).code).toBe(2);
});
