import { describe, expect, it } from "vitest";
import { deriveSeed, deriveStream, random } from "../../src/nn/random.js";

describe("random", () => {
  it("gives the same numbers for the same stream, for ever", () => {
    const { uniform, uniform32, normal } = random([1, 2]);
    // Frozen: runs of earlier versions must stay reproducible.
    expect([uniform(), uniform32(), normal()]).toMatchInlineSnapshot(`
      [
        0.9384017628209554,
        0.06346726417541504,
        -0.2681596353123989,
      ]
    `);
  });

  it("draws uniform numbers in [0, 1) that are exact in float32", () => {
    const { uniform32 } = random([3, 4]);
    let sum = 0;
    for (let i = 0; i < 10_000; ++i) {
      const u = uniform32();
      expect(u >= 0 && u < 1 && Math.fround(u) === u).toBe(true);
      sum += u;
    }
    // Standard error of the mean: 0.0029; six of them.
    expect(Math.abs(sum / 10_000 - 0.5)).toBeLessThan(0.018);
  });

  it("draws normal numbers of mean 0, variance 1 and kurtosis 3", () => {
    const { normal } = random([5, 6]);
    const n = 40_000;
    const moments = [0, 0, 0];
    for (let i = 0; i < n; ++i) {
      const x = normal();
      moments[0]! += x / n;
      moments[1]! += x ** 2 / n;
      moments[2]! += x ** 4 / n;
    }
    // Six standard errors: sqrt(1/n), sqrt(2/n), sqrt(96/n).
    expect(Math.abs(moments[0]!)).toBeLessThan(0.03);
    expect(Math.abs(moments[1]! - 1)).toBeLessThan(0.043);
    expect(Math.abs(moments[2]! - 3)).toBeLessThan(0.3);
  });

  it("is decorrelated between neighbouring streams", () => {
    const n = 4000;
    const first = Array.from({ length: n }, (_, i) => random(deriveStream(7, 1, i)).uniform());
    let correlation = 0;
    for (let i = 1; i < n; ++i) correlation += (first[i]! - 0.5) * (first[i - 1]! - 0.5) * 12;
    // Standard error 1 / sqrt(n) = 0.016; five of them.
    expect(Math.abs(correlation / n)).toBeLessThan(0.08);
  });
});

describe("deriveSeed", () => {
  it("depends on every id and on their order", () => {
    const seeds = [
      deriveSeed(1),
      deriveSeed(2),
      deriveSeed(1, 0),
      deriveSeed(1, 0, 0),
      deriveSeed(1, 2, 3),
      deriveSeed(1, 3, 2),
      deriveSeed(1, 2 ** 32 + 2),
      deriveSeed(1, 2),
    ];
    expect(new Set(seeds).size).toBe(seeds.length);
  });

  it("never gives the same seed to two last ids", () => {
    const seeds = new Set(Array.from({ length: 100_000 }, (_, i) => deriveSeed(9, 4, i)));
    expect(seeds.size).toBe(100_000);
  });

  it.each([-1, 0.5, Number.NaN, 2 ** 53])("refuses the id %s", (id) => {
    expect(() => deriveSeed(1, id)).toThrow(expect.objectContaining({ code: "ERR_RANGE" }));
  });
});
