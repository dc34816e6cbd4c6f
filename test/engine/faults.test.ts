import { afterEach, describe, expect, it } from "vitest";
import { Engine, type FaultReport } from "../../src/engine/engine.js";
import { logProbBackward, logProb as score } from "../../src/engine/kernels/logProb.js";

const faults: FaultReport[] = [];
const engine = new Engine({ device: "cpu", onFault: (fault) => faults.push(fault) });
afterEach(() => {
  faults.length = 0;
});

describe("faulty rows", () => {
  it("are reported once, by the first read of any output, and do not spread", async () => {
    const logits = [0, 1, 2, /**/ 0, Number.NaN, 2, /**/ 2, 1, 0];
    const { logProb, entropy, stats } = score(engine, engine.tensor(logits, [3, 3]), [0, 0, 7], {
      entropy: true,
    });
    const values = await logProb.read();
    expect(faults).toEqual([
      { call: "log_prob", kind: "id-out-of-range", count: 1, firstRow: 2 },
      { call: "log_prob", kind: "not-a-number", count: 1, firstRow: 1 },
    ]);
    expect(values[0]).toBeCloseTo(-2.4076059, 6);
    expect(values[1]).toBeNaN();
    expect(values[2]).toBeNaN();
    await entropy!.read();
    await stats.read();
    expect(faults).toHaveLength(2);
  });

  it("are reported also when the read that finds them has been given up", async () => {
    const { logProb } = score(engine, engine.tensor([0, 1], [1, 2]), [5]);
    const controller = new AbortController();
    const reading = logProb.read({ signal: controller.signal });
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "ERR_ABORTED" });
    await engine.synchronize();
    expect(faults).toEqual([{ call: "log_prob", kind: "id-out-of-range", count: 1, firstRow: 0 }]);
  });

  it("get gradient 0", () => {
    const logits = engine.tensor([0, 1, Number.NaN, 1, 1, 2], [3, 2]);
    const { stats } = score(engine, logits, [0, 0, 9]);
    const d = logProbBackward(engine, { logits, targets: [0, 0, 9], stats, dLogProb: [1, 1, 1] });
    expect([...d.readSync()].slice(2)).toEqual([0, 0, 0, 0]);
  });

  it("are of no interest under a mask", () => {
    const logits = engine.tensor([0, 1, Number.NaN, 1], [2, 2]);
    const { logProb } = score(engine, logits, [0, -5], { mask: new Uint8Array([1, 0]) });
    expect(logProb.readSync()[1]).toBe(0);
    expect(faults).toEqual([]);
  });
});
