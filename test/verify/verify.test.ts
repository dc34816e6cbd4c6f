import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { close, sameBits, zero } from "../../src/verify/compare.js";
import { checksFor, runCheck, verify } from "../../src/verify/verify.js";

const engine = new Engine({ device: "cpu", onFault: () => {} });
afterAll(() => engine.dispose());

describe("verify", () => {
  it("has at least 100 checks a device, each with a name of its own", () => {
    for (const device of ["cpu", "cuda", "emulated"] as const) {
      const names = checksFor(device).map(({ family, name }) => `${family}: ${name}`);
      expect(names.length).toBeGreaterThanOrEqual(100);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it("runs what the filter matches and counts it", () => {
    const { passed, failed, cases } = verify(engine, { filter: "group-norm: by hand" });
    expect(cases.length).toBeGreaterThan(3);
    expect(passed).toBe(cases.length);
    expect(failed).toBe(0);
    expect(cases.every(({ family }) => family === "group-norm")).toBe(true);
  });

  it("reports what a check finds and what it throws", () => {
    const check = (run: () => string | null) => ({ family: "f", name: "n", run });
    expect(
      runCheck(
        engine,
        check(() => "wrong"),
      ),
    ).toMatchObject({ passed: false, finding: "wrong" });
    const thrown = runCheck(
      engine,
      check(() => {
        throw new Error("boom");
      }),
    );
    expect(thrown).toMatchObject({ passed: false, finding: "threw boom" });
    expect(
      runCheck(
        engine,
        check(() => null),
      ).passed,
    ).toBe(true);
  });

  it("frees what the checks make", () => {
    const before = engine.memory().live;
    verify(engine, { filter: "surrogate: token-mean" });
    expect(engine.memory().live).toBe(before);
  });
});

describe("comparisons find", () => {
  it.each([
    ["a value beyond the tolerance", [1.1], [1], 0.05],
    ["NaN where a number is wanted", [NaN], [1], 10],
    ["a number where NaN is wanted", [1], [NaN], 10],
    ["infinity where a number is wanted", [Infinity], [1], 10],
    ["the wrong infinity", [-Infinity], [Infinity], 10],
    ["a missing value", [], [1], 10],
    ["any difference without tolerance", [1 + 2 ** -52], [1], 0],
  ])("%s", (_, got, want, tolerance) => {
    expect(close("x", got, want, tolerance)).toMatch(/^x/);
  });

  it("a differing bit, and a value that is not 0", () => {
    expect(sameBits("x", Float32Array.of(0), Float32Array.of(-0))).toMatch(/^x/);
    expect(sameBits("x", Float32Array.of(1), Float32Array.of(1))).toBeNull();
    expect(zero("x", [0, -0, NaN])).toMatch(/^x\[2\]/);
    expect(zero("x", [0, -0])).toBeNull();
  });
});
