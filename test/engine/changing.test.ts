import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { logProb } from "../../src/engine/kernels/logProb.js";
import { surrogate } from "../../src/engine/kernels/surrogate.js";
import { Offsets, Slots } from "../../src/engine/offsets.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

function codeOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    return (error as FiresteelError).code;
  }
  return "nothing thrown";
}

const detached = () => {
  const data = new Int32Array([0, 2]);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  return data;
};
const policyGradient = (more: object, options: object = {}) =>
  surrogate(
    engine,
    { logProb: [0, 0], oldLogProb: [0, 0], advantage: [1], rowOffsets: [0, 2], ...more },
    { aggregation: "token-mean", ...options },
  );

describe("what changes between the check and the use", () => {
  it("a target that shrinks while it is waited for is refused and not overrun", async () => {
    const count = 300_000;
    const buffer = Reflect.construct(ArrayBuffer, [4 * count, { maxByteLength: 4 * count }]);
    const into = new Float32Array(buffer as ArrayBuffer);
    const reading = engine.zeros([count]).read({ into });
    (buffer as { resize(bytes: number): void }).resize(4);
    await expect(reading).rejects.toMatchObject({ code: "ERR_SHAPE" });
  });

  it("options are read once", () => {
    let reads = 0;
    const threads = () =>
      new Engine({
        device: "cpu",
        get threads() {
          return reads++ === 0 ? 1e6 : undefined;
        },
      } as object);
    expect(codeOf(threads)).toBe("ERR_RANGE");

    const given: unknown[] = [];
    const inputs = {
      logProb: [0, 0],
      oldLogProb: [0, 0],
      advantage: [1],
      rowOffsets: [0, 2],
      get refLogProb() {
        given.push([-1, -1]);
        return given.length === 1 ? [-1, -1] : null;
      },
    };
    const { loss } = surrogate(engine, inputs, { aggregation: "token-mean", beta: 1 });
    expect(given).toHaveLength(1);
    expect(loss.readSync()[0]).toBeCloseTo(-1 + Math.exp(-1), 6);
  });

  it("checked offsets cannot be changed", () => {
    const offsets = new Offsets(engine, [0, 1_000_000]);
    expect(() => Object.assign(offsets, { total: 2 })).toThrow(TypeError);
    expect(() => Object.assign(new Slots(engine, [1], 2), { bound: 1 })).toThrow(TypeError);
    expect(codeOf(() => policyGradient({ rowOffsets: offsets }))).toBe("ERR_SHAPE");
  });

  it("a getter that disposes of a tensor or of the engine is met with ERR_DISPOSED", () => {
    const logits = engine.zeros([1, 4]);
    const options = {
      get mask() {
        logits.dispose();
        return [1];
      },
    };
    expect(codeOf(() => logProb(engine, logits, [0], options))).toBe("ERR_DISPOSED");
    const closing = new Engine({ device: "cpu" });
    const mine = closing.zeros([1, 4]);
    const ending = {
      get mask() {
        closing.dispose();
        return null;
      },
    };
    expect(codeOf(() => logProb(closing, mine, [0], ending))).toBe("ERR_DISPOSED");
  });

  it("a report that disposes of the engine ends the read and nothing else", async () => {
    const closing = new Engine({ device: "cpu", onFault: () => closing.dispose() });
    const scored = logProb(closing, closing.zeros([1, 2]), [7]);
    const later = scored.stats.read();
    expect((await scored.logProb.read())[0]).toBeNaN();
    await later;
    expect(closing.disposed).toBe(true);
    expect(codeOf(() => scored.logProb.readSync())).toBe("ERR_DISPOSED");
  });
});

describe("what only looks like data", () => {
  const fakes = {
    "a Proxy of a typed array": new Proxy(new Int32Array([0, 2]), {}),
    "an object with a typed array's prototype": Object.create(Int32Array.prototype),
    "a detached array": detached(),
    "an array without a prototype": Object.setPrototypeOf(new Int32Array(2), null),
    "an object with an odd constructor": { constructor: { name: Symbol("x") } },
  };
  it.each(Object.entries(fakes))("%s is refused", (_, fake) => {
    const refused = /^ERR_(SHAPE|DTYPE|OPTION)$/;
    expect(codeOf(() => engine.tensor(fake, [2]))).toMatch(refused);
    expect(codeOf(() => engine.zeros([2], "i32").write(fake))).toMatch(refused);
    expect(codeOf(() => engine.zeros([2], "i32").readSync({ into: fake }))).toMatch(refused);
    expect(codeOf(() => policyGradient({ rowOffsets: fake }))).toMatch(refused);
    expect(codeOf(() => policyGradient({ logProb: fake }))).toMatch(refused);
  });

  it("shapes without a product are refused", () => {
    expect(codeOf(() => engine.empty([1e300, 0]))).toBe("ERR_SHAPE");
    expect(codeOf(() => engine.empty(new Array(22).fill(2 ** 48).concat(0)))).toBe("ERR_SHAPE");
  });
});

describe("what a call leaves behind when it fails", () => {
  it("is nothing, so that a smaller one can follow at once", () => {
    const small = new Engine({ device: "cpu", memoryLimit: 1 << 20 });
    const logits = small.zeros([40_000, 4]);
    const before = small.memory().live;
    for (let i = 0; i < 3; ++i) {
      const attempt = () => logProb(small, logits, new Int32Array(40_000), { entropy: true });
      expect(codeOf(attempt)).toBe("ERR_OUT_OF_MEMORY");
      expect(small.memory().live).toBe(before);
    }
    small.dispose();
  });

  it("is nothing after a scope whose result holds itself", () => {
    const before = engine.memory().live;
    const ring = engine.scope(() => {
      engine.zeros([1000]);
      const made: { kept: object; self?: object } = { kept: [engine.zeros([1])] };
      made.self = made;
      return made;
    });
    const [kept] = ring.kept as [{ disposed: boolean; dispose(): void }];
    expect(kept.disposed).toBe(false);
    kept.dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("options of the last call count as checked only where nothing in them can have changed", () => {
    const loss = (options: object) =>
      engine.scope(() => policyGradient({ logProb: [0.5, 0.5] }, options).loss.readSync()[0]);
    const clipRange: [number, number] = [0.9, 1.1];
    expect(loss({ clipRange })).toBeCloseTo(-1.1, 6);
    clipRange[1] = 1.3;
    expect(loss({ clipRange })).toBeCloseTo(-1.3, 6);
    clipRange[1] = 0.5;
    expect(codeOf(() => loss({ clipRange }))).toBe("ERR_RANGE");
    expect(loss({ epsilon: 0.2 })).toBeCloseTo(-1.2, 6);
    expect(loss({ epsilon: 0.2 })).toBeCloseTo(-1.2, 6);
    expect(loss({ epsilon: 0.2, epsilonHigh: 0.4 })).toBeCloseTo(-1.4, 6);
    expect(loss({})).toBeCloseTo(-1.2, 6);
    expect(loss({ form: "unclipped" })).toBeCloseTo(-Math.exp(0.5), 5);
    // The same options beside other inputs are checked anew.
    const options = { aggregation: "token-mean", klClamp: undefined } as const;
    expect(codeOf(() => policyGradient({}, { ...options, klEstimator: "k1" }))).toBe("ERR_OPTION");
    const reference = { refLogProb: [0, 0] };
    expect(codeOf(() => policyGradient(reference, { klEstimator: "k1" }))).toBe("nothing thrown");
    expect(codeOf(() => policyGradient({}, { klEstimator: "k1" }))).toBe("ERR_OPTION");
  });
});
