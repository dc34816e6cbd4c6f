import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { loadBackend } from "../../src/engine/loader.js";
import { Engine, linearLogProb, linearLogProbBackward } from "../../src/index.js";

/** Of the native tests: a library that multiplies in host memory. */
const double = fileURLToPath(
  new URL("../../out/test/native/libcublas_lt_double.so", import.meta.url),
);
const emulated = loadBackend("emulated").addon !== null;

describe("the matmul option of an engine", () => {
  const before = process.env.FIRESTEEL_CUBLASLT;
  afterEach(() => {
    if (before === undefined) delete process.env.FIRESTEEL_CUBLASLT;
    else process.env.FIRESTEEL_CUBLASLT = before;
  });

  it("is one of three", () => {
    expect(() => new Engine({ device: "cpu", matmul: "cublass" as "cublas" })).toThrow(
      /one of "auto", "own", "cublas" for matmul but received "cublass" \(did you mean "cublas"\?\)/,
    );
  });

  it("has no cuBLASLt on the CPU", () => {
    expect(() => new Engine({ device: "cpu", matmul: "cublas" })).toThrow(
      expect.objectContaining({
        code: "ERR_OPTION",
        message: expect.stringContaining('"auto" or "own" on the CPU'),
      }),
    );
    for (const matmul of ["auto", "own", undefined] as const) {
      using engine = new Engine({ device: "cpu", matmul });
      expect(engine.info).toMatchObject({ matmul: "own", matmulDetail: "" });
    }
  });

  it.runIf(emulated)("names what was tried where cuBLASLt does not open", () => {
    process.env.FIRESTEEL_CUBLASLT = "/nowhere/libcublasLt.so.13";
    expect(() => new Engine({ device: "emulated", matmul: "cublas" })).toThrow(
      expect.objectContaining({
        code: "ERR_NO_DEVICE",
        message: expect.stringContaining("tried /nowhere/libcublasLt.so.13: "),
      }),
    );
    using engine = new Engine({ device: "emulated" });
    expect(engine.info.matmul).toBe("own");
    expect(engine.info.matmulDetail).toContain("/nowhere/libcublasLt.so.13");
    using own = new Engine({ device: "emulated", matmul: "own" });
    expect(own.info).toMatchObject({ matmul: "own", matmulDetail: "" });
  });

  it.runIf(emulated && existsSync(double))("multiplies 16-bit operands by the library", () => {
    const results = (["own", "cublas"] as const).map((matmul) => {
      process.env.FIRESTEEL_CUBLASLT = double;
      using engine = new Engine({ device: "emulated", matmul });
      expect(engine.info.matmul).toBe(matmul);
      expect(engine.memory().live).toBe(matmul === "own" ? 0 : 2 ** 25);
      const values = Uint16Array.from({ length: 30 * 8 }, (_, i) => 0x3f80 + ((i * 37) % 128));
      const weight = engine.tensor(values, [30, 8], "bf16");
      const hidden = engine.tensor(values.subarray(0, 40), [5, 8], "bf16");
      const targets = [0, 7, 29, 3, 3];
      const { logProb, stats } = linearLogProb(engine, hidden, weight, targets);
      const dLogProb = [1, -1, 0.5, 2, 1];
      const above = { hidden, weight, targets, stats, dLogProb };
      const { dHidden, dWeight } = linearLogProbBackward(engine, above);
      return [logProb, dHidden, dWeight!].map((tensor) => [...(tensor.readSync() as Float32Array)]);
    });
    // The emulator's tensor cores and the library's loops add in the same order.
    expect(results[1]).toEqual(results[0]);
  });
});
