import { afterEach, describe, expect, it, vi } from "vitest";
import * as verification from "../../src/verify/verify.js";
import { firesteel } from "./terminal.js";

vi.mock("../../src/verify/verify.js", { spy: true });
afterEach(() => vi.mocked(verification.verify).mockRestore());

describe("verify", () => {
  it("prints every case of a device as one object", async () => {
    const args = ["verify", "--device", "cpu", "--filter", "group-norm: by hand", "--json"];
    const { code, out, err } = await firesteel(args);
    const { passed, failed, cases } = JSON.parse(out);
    expect(code).toBe(0);
    expect(err).toBe("");
    expect(failed).toBe(0);
    expect(passed).toBe(cases.length);
    expect(cases[0]).toEqual({
      device: "cpu",
      family: "group-norm",
      name: "by hand: sample std",
      passed: true,
      finding: null,
    });
  });

  it("sums up by family for people", async () => {
    const { code, out } = await firesteel(["verify", "--device", "cpu", "--filter", "rope"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^cpu +rope +(\d+) of \1 passed\n$/);
  });

  it("refuses smaller shapes where they are of no use", async () => {
    const { code, err } = await firesteel(["verify", "--device", "cpu", "--small"]);
    expect(code).toBe(2);
    expect(err).toMatch(/expected a CUDA device.*small/i);
  });

  it("ends with 1 when a check fails, and says which and how", async () => {
    const wrong = { family: "rope", name: "one", passed: false, finding: "y[3]: 2 instead of 1" };
    vi.mocked(verification.verify).mockReturnValue({ passed: 0, failed: 1, cases: [wrong] });
    const { code, out, err } = await firesteel(["verify", "--device", "cpu"]);
    expect(code).toBe(1);
    expect(out).toContain("cpu rope: one\n  y[3]: 2 instead of 1\n");
    expect(err).toMatch(/^error: 1 of 1 checks failed/);
  });

  it("refuses a filter that matches nothing and a device that there is not", async () => {
    expect((await firesteel(["verify", "--device", "cpu", "--filter", "rpoe"])).code).toBe(2);
    expect((await firesteel(["verify", "--device", "gpu"])).code).toBe(2);
  });
});
