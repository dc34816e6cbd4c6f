import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { logProb } from "../../src/engine/kernels/logProb.js";
import { matmul } from "../../src/engine/nn/matmul.js";
import type { Tensor } from "../../src/engine/tensor.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

/** The code of what `fn` throws; anything but a FiresteelError fails the test. */
function codeOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    return (error as FiresteelError).code;
  }
  return "nothing thrown";
}

describe("tensors", () => {
  it.each([
    [new Float32Array([1, -2, 3.5]), "f32"],
    [new Float64Array([1, -2, 1e300]), "f64"],
    [new Int32Array([1, -2, 2 ** 31 - 1]), "i32"],
    [new Uint8Array([0, 1, 255]), "u8"],
  ] as const)("hold a copy of %s", async (data, dtype) => {
    const tensor = engine.tensor(data);
    expect(tensor.dtype).toBe(dtype);
    const before = data.slice();
    data.fill(0);
    expect(await tensor.read()).toEqual(before);
    expect(tensor.readSync()).toEqual(before);
  });

  it("hold bf16 and f16 as bits, and say so where it is missing", () => {
    const bits = new Uint16Array([0x3f80, 0x8000]);
    expect(engine.tensor(bits, [2], "bf16").readSync()).toEqual(bits);
    expect(codeOf(() => engine.tensor(bits, [2]))).toBe("ERR_DTYPE");
    expect(codeOf(() => engine.tensor(bits, [2], "i32"))).toBe("ERR_DTYPE");
  });

  it("accept plain numbers, and refuse what is not a number or out of range", () => {
    expect(engine.tensor([1, 2, 3, 4], [2, 2]).shape).toEqual([2, 2]);
    expect(codeOf(() => engine.tensor([1, "2" as unknown as number]))).toBe("ERR_DTYPE");
    expect(codeOf(() => engine.tensor([1.5], [1], "i32"))).toBe("ERR_RANGE");
    expect(codeOf(() => engine.tensor([256], [1], "u8"))).toBe("ERR_RANGE");
  });

  it("refuse shapes that do not fit", () => {
    expect(codeOf(() => engine.tensor([1, 2, 3], [2, 2]))).toBe("ERR_SHAPE");
    expect(codeOf(() => engine.tensor([1], [-1]))).toBe("ERR_SHAPE");
    expect(codeOf(() => engine.empty([1.5]))).toBe("ERR_SHAPE");
    expect(codeOf(() => engine.empty([2 ** 30, 2 ** 30]))).toBe("ERR_SHAPE");
    expect(codeOf(() => engine.empty([2 ** 46]))).toBe("ERR_OUT_OF_MEMORY");
  });

  it("give views that share memory", () => {
    const tensor = engine.tensor([0, 1, 2, 3, 4, 5], [3, 2]);
    const middle = tensor.rows(1, 2);
    middle.write([20, 30]);
    expect([...tensor.readSync()]).toEqual([0, 1, 20, 30, 4, 5]);
    tensor.dispose();
    expect([...middle.readSync()]).toEqual([20, 30]);
    expect(codeOf(() => middle.rows(0, 3))).toBe("ERR_RANGE");
    expect(codeOf(() => middle.view([3]))).toBe("ERR_SHAPE");
  });

  it("may have no elements", async () => {
    const empty = engine.zeros([0, 7]);
    expect(await empty.read()).toEqual(new Float32Array(0));
    expect(empty.rows(0, 0).size).toBe(0);
  });

  it("read into a given array, which must fit", async () => {
    const into = new Float32Array(3);
    const tensor = engine.tensor([1, 2, 3]);
    expect(await tensor.read({ into })).toBe(into);
    expect([...into]).toEqual([1, 2, 3]);
    expect(codeOf(() => tensor.readSync({ into: new Float32Array(2) }))).toBe("ERR_SHAPE");
    expect(codeOf(() => tensor.readSync({ into: new Int32Array(3) }))).toBe("ERR_SHAPE");
  });

  it("are refused once disposed, and disposing twice is harmless", async () => {
    const tensor = engine.tensor([1]);
    tensor.dispose();
    tensor.dispose();
    expect(tensor.disposed).toBe(true);
    expect(codeOf(() => tensor.readSync())).toBe("ERR_DISPOSED");
    expect(codeOf(() => tensor.write([2]))).toBe("ERR_DISPOSED");
    expect(codeOf(() => tensor.rows(0, 1))).toBe("ERR_DISPOSED");
    await expect(tensor.read()).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  });

  it("refuse detached data and survive a target that is transferred away", async () => {
    const data = new Float32Array(4);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(codeOf(() => engine.tensor(data, [4]))).toBe("ERR_SHAPE");
    const into = new Float32Array(4);
    const reading = engine.tensor([1, 2, 3, 4]).read({ into });
    structuredClone(into.buffer, { transfer: [into.buffer] });
    await expect(reading).rejects.toMatchObject({ code: "ERR_SHAPE" });
  });

  it("take data from shared memory and from parts of a buffer", () => {
    const shared = new Float32Array(new SharedArrayBuffer(16));
    shared.set([1, 2, 3, 4]);
    expect([...engine.tensor(shared).readSync()]).toEqual([1, 2, 3, 4]);
    expect([...engine.tensor(shared.subarray(1, 3)).readSync()]).toEqual([2, 3]);
  });

  it("reject an aborted wait with ERR_ABORTED", async () => {
    const tensor = engine.tensor([1]);
    await expect(tensor.read({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ERR_ABORTED",
    });
    const controller = new AbortController();
    const reading = tensor.read({ signal: controller.signal });
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect([...tensor.readSync()]).toEqual([1]);
  });
});

describe("an engine", () => {
  it("names what is wrong with its options", () => {
    expect(codeOf(() => new Engine({ device: "gpu" as "cpu" }))).toBe("ERR_OPTION");
    expect(codeOf(() => new Engine({ thread: 2 } as object))).toBe("ERR_OPTION");
    expect(() => new Engine({ thread: 2 } as object)).toThrow('did you mean "threads"');
    expect(codeOf(() => new Engine({ device: "cpu", threads: 0 }))).toBe("ERR_RANGE");
    expect(codeOf(() => new Engine({ device: "cpu", memoryLimit: Number.NaN }))).toBe("ERR_RANGE");
  });

  it("frees what a scope made and did not return", () => {
    const before = engine.memory().live;
    let inner: Tensor | undefined;
    const kept = engine.scope(() => {
      inner = engine.zeros([1000]);
      const nested = engine.scope(() => ({ list: [engine.zeros([10])] }));
      expect(nested.list[0]!.disposed).toBe(false);
      return { result: engine.zeros([10]), nested };
    });
    expect(inner!.disposed).toBe(true);
    expect(kept.result.disposed).toBe(false);
    expect(kept.nested.list[0]!.disposed).toBe(false);
    kept.result.dispose();
    kept.nested.list[0]!.dispose();
    expect(engine.memory().live).toBe(before);
  });

  it("frees a scope's tensors when its function throws or is asynchronous", () => {
    const before = engine.memory().live;
    expect(() =>
      engine.scope(() => {
        engine.zeros([1000]);
        throw new RangeError("mine");
      }),
    ).toThrow("mine");
    expect(codeOf(() => engine.scope(async () => engine.zeros([10])))).toBe("ERR_OPTION");
    expect(engine.memory().live).toBe(before);
  });

  it("refuses what exceeds its memory limit and goes on", () => {
    using small = new Engine({ device: "cpu", memoryLimit: 1 << 20 });
    const held = small.zeros([100_000]);
    expect(codeOf(() => small.empty([1_000_000]))).toBe("ERR_OUT_OF_MEMORY");
    expect(held.readSync()[99_999]).toBe(0);
    expect(small.memory()).toMatchObject({ limit: 1 << 20 });
  });

  it("holds one workspace, however many calls are queued", async () => {
    using own = new Engine({ device: "cpu" });
    const a = own.zeros([1024, 1024]);
    const b = own.zeros([1024, 8]);
    const before = own.memory().peak;
    for (let i = 0; i < 16; ++i) own.scope(() => void matmul(own, a, b));
    await own.synchronize();
    // A product packs its left operand: 4 MiB, in a block of at most 5.
    expect(own.memory().peak - before).toBeLessThan(8 << 20);
  });

  it("refuses tensors of another engine", () => {
    using other = new Engine({ device: "cpu" });
    const logits = other.zeros([1, 2]);
    expect(codeOf(() => logProb(engine, logits, [0]))).toBe("ERR_OPTION");
  });

  it("is refused once disposed; its pending reads are settled", async () => {
    const gone = new Engine({ device: "cpu" });
    const tensor = gone.zeros([4]);
    const pending = tensor.read().catch((error: FiresteelError) => error.code);
    gone.dispose();
    gone.dispose();
    expect([new Float32Array(4), "ERR_DISPOSED"]).toContainEqual(await pending);
    expect(codeOf(() => gone.zeros([1]))).toBe("ERR_DISPOSED");
    expect(codeOf(() => tensor.readSync())).toBe("ERR_DISPOSED");
    tensor.dispose();
  });

  it("says why a device is not there", () => {
    expect(new Engine({ device: "cpu" }).info).toMatchObject({ device: "cpu" });
    const tried = codeOf(() => new Engine({ device: "cuda" }));
    expect(["ERR_NO_DEVICE", "nothing thrown"]).toContain(tried);
  });
});
