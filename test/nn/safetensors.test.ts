import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSafetensors, type StoredTensor, writeSafetensors } from "../../src/nn/safetensors.js";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "firesteel-safetensors-"));
});
afterAll(() => rm(directory, { recursive: true }));

const tensors: [string, StoredTensor][] = [
  ["b.weight", { dtype: "f32", shape: [2, 2], data: Float32Array.of(1, -2, Number.NaN, 1e-40) }],
  ["a", { dtype: "u8", shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ["c", { dtype: "f64", shape: [], data: Float64Array.of(Math.PI) }],
  ["empty", { dtype: "i32", shape: [0, 5], data: new Int32Array(0) }],
  ["ids", { dtype: "i32", shape: [2], data: Int32Array.of(-1, 2 ** 31 - 1) }],
  ["half", { dtype: "f16", shape: [1], data: Uint16Array.of(0x3c00) }],
  ["brain", { dtype: "bf16", shape: [1, 1], data: Uint16Array.of(0x3f80) }],
];

describe("writeSafetensors", () => {
  it("is read back as it was, in every dtype", async () => {
    const path = join(directory, "round.safetensors");
    await writeSafetensors(path, tensors, { step: "7", é: "ü" });
    const back = await readSafetensors(path);
    expect(back.metadata).toEqual({ step: "7", é: "ü" });
    expect(back.tensors.size).toBe(tensors.length);
    for (const [name, { dtype, shape, data }] of tensors) {
      const found = back.tensors.get(name)!;
      expect([found.dtype, found.shape]).toEqual([dtype, shape]);
      expect(Buffer.from(found.data.buffer)).toEqual(Buffer.from(data.buffer));
    }
  });

  it("gives the same bytes in whatever order the tensors come", async () => {
    const [a, b] = [join(directory, "a.safetensors"), join(directory, "b.safetensors")];
    await writeSafetensors(a, tensors, { x: "1", y: "2" });
    await writeSafetensors(b, [...tensors].reverse(), { y: "2", x: "1" });
    expect(await readFile(a)).toEqual(await readFile(b));
  });

  it("refuses a name twice, a shape that does not fit and a wrong array", async () => {
    const path = join(directory, "refused.safetensors");
    const tensor: StoredTensor = { dtype: "f32", shape: [1], data: new Float32Array(1) };
    const code = (code: string) => expect.objectContaining({ code });
    const twice = [["x", tensor] as const, ["x", tensor] as const];
    await expect(writeSafetensors(path, twice)).rejects.toEqual(code("ERR_OPTION"));
    const long = { ...tensor, shape: [2] };
    await expect(writeSafetensors(path, [["x", long]])).rejects.toEqual(code("ERR_SHAPE"));
    const other: StoredTensor = { ...tensor, data: new Int32Array(1) };
    await expect(writeSafetensors(path, [["x", other]])).rejects.toEqual(code("ERR_DTYPE"));
  });

  it("says which file could not be written", async () => {
    const path = join(directory, "missing", "x.safetensors");
    await expect(writeSafetensors(path, tensors)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining(path),
    });
  });
});

describe("readSafetensors", () => {
  const f32 = (begin: number, end: number, shape: number[] = [(end - begin) / 4]) => ({
    dtype: "F32",
    shape,
    data_offsets: [begin, end],
  });
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const file = (header: Buffer, data = 0, claimed: number | bigint = header.length) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(claimed));
    return Buffer.concat([length, header, Buffer.alloc(data)]);
  };

  const damaged: [string, Buffer, string][] = [
    ["an empty file", Buffer.alloc(0), "0 bytes, fewer than the 8"],
    ["half a length", Buffer.alloc(7), "7 bytes, fewer than the 8"],
    ["a huge length", file(json({}), 0, 2n ** 63n), "more than 100000000"],
    ["a length just past the limit", file(json({}), 0, 100_000_001), "more than 100000000"],
    ["a length past the end", file(json({}), 0, 3), "claims 3 bytes but only 2 follow"],
    ["no JSON", file(Buffer.from("{x}")), "not JSON"],
    ["no UTF-8", file(Buffer.from([0x7b, 0xff, 0x7d])), "not JSON"],
    ["an empty header", file(Buffer.alloc(0)), "not JSON"],
    ["a list", file(json([])), "not a JSON object"],
    ["null", file(json(null)), "not a JSON object"],
    [
      "a name twice",
      file(
        Buffer.from(`{"x":${JSON.stringify(f32(0, 4))},"\\u0078" :${JSON.stringify(f32(0, 4))}}`),
        4,
      ),
      '"x" twice',
    ],
    [
      "a field twice",
      file(Buffer.from('{"x":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}'), 4),
      '"dtype" twice',
    ],
    [
      "metadata that is no object",
      file(json({ __metadata__: "x" })),
      "__metadata__ is not an object",
    ],
    ["metadata that is no text", file(json({ __metadata__: { x: 1 } })), '"x" is not a string'],
    ["a tensor that is no object", file(json({ x: 1 })), "not described by an object"],
    ["an unknown field", file(json({ x: { ...f32(0, 4), y: 1 } }), 4), 'unknown field "y"'],
    ["an unknown dtype", file(json({ x: { ...f32(0, 4), dtype: "Q4" } }), 4), 'dtype "Q4"'],
    [
      "a dtype in small letters",
      file(json({ x: { ...f32(0, 4), dtype: "f32" } }), 4),
      'dtype "f32"',
    ],
    ["no shape", file(json({ x: { dtype: "F32", data_offsets: [0, 4] } }), 4), "no shape"],
    ["a negative dimension", file(json({ x: f32(0, 4, [-1]) }), 4), "no shape"],
    ["a broken dimension", file(json({ x: f32(0, 4, [0.5]) }), 4), "no shape"],
    ["no offsets", file(json({ x: { dtype: "F32", shape: [1] } }), 4), "no data_offsets"],
    [
      "three offsets",
      file(json({ x: { ...f32(0, 4), data_offsets: [0, 4, 8] } }), 8),
      "no data_offsets",
    ],
    [
      "offsets that are no integers",
      file(json({ x: { ...f32(0, 4), data_offsets: [0, "4"] } }), 4),
      "no data_offsets",
    ],
    ["an end before its begin", file(json({ x: { ...f32(4, 0, [1]) } }), 4), "after its end"],
    ["an end past the data", file(json({ x: f32(0, 8) }), 4), "ends at byte 8 but the data has 4"],
    ["a shape that does not fit", file(json({ x: f32(0, 4, [2]) }), 4), "needs 8 bytes but has 4"],
    [
      "a product that would wrap",
      file(json({ x: f32(0, 4, [2 ** 32, 2 ** 32, 1]) }), 4),
      "needs 73786976294838206464 bytes",
    ],
    ["an overlap", file(json({ x: f32(0, 8), y: f32(4, 12) }), 12), '"y" overlaps'],
    ["a hole", file(json({ x: f32(0, 4), y: f32(8, 12) }), 12), "nothing describes bytes 4 to 8"],
    ["a hole at the start", file(json({ x: f32(4, 8) }), 8), "nothing describes bytes 0 to 4"],
    ["bytes left over", file(json({ x: f32(0, 4) }), 5), "nothing describes bytes 4 to 5"],
    ["data without tensors", file(json({}), 1), "nothing describes bytes 0 to 1"],
  ];

  it.each(damaged)("refuses %s", async (name, bytes, reason) => {
    const path = join(directory, `${name.replaceAll(" ", "-")}.safetensors`);
    await writeFile(path, bytes);
    await expect(readSafetensors(path)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining(reason),
    });
    await expect(readSafetensors(path)).rejects.toMatchObject({
      message: expect.stringContaining(path),
    });
  });

  it("reads files of other writers: any order, spaces after the header, quotes in names", async () => {
    const path = join(directory, "foreign.safetensors");
    const header = Buffer.from(`${json({ 'y"{:"': f32(4, 8), x: f32(0, 4) })}   `);
    await writeFile(path, file(header, 8));
    expect([...(await readSafetensors(path)).tensors.keys()]).toEqual(["x", 'y"{:"']);
  });

  it("says that a file is missing", async () => {
    await expect(readSafetensors(join(directory, "none"))).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining("no such file"),
    });
  });
});
