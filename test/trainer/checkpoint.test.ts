import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { readCheckpoint, writeCheckpoint } from "../../src/trainer/checkpoint.js";
import { temporaryFolder } from "../folders.js";

let out: string;

beforeEach(async () => {
  out = await temporaryFolder();
});

const write = (name: string, step: number) =>
  writeCheckpoint(out, name, { step, list: [1.5, null] }, async (folder) => {
    await writeFile(join(folder, "weights.bin"), Uint8Array.of(1, 2, 3, step));
    return {};
  });

describe("a checkpoint", () => {
  test("comes back as it was written", async () => {
    await write("checkpoint-1", 1);
    const { folder, body } = await readCheckpoint(out);
    expect(body).toEqual({ step: 1, list: [1.5, null] });
    expect([...(await readFile(join(folder, "weights.bin")))]).toEqual([1, 2, 3, 1]);
  });

  test("replaces older ones once it is whole", async () => {
    await write("warm-start-700", 0);
    await write("checkpoint-9", 9);
    await write("checkpoint-10", 10);
    expect(await readdir(out)).toEqual(["checkpoint-10"]);
  });

  test("written half leaves the previous one alone", async () => {
    await write("checkpoint-1", 1);
    const broken = writeCheckpoint(out, "checkpoint-2", {}, async () => {
      throw new Error("disk full");
    });
    await expect(broken).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(/disk full/),
    });
    expect((await readCheckpoint<{ step: number }>(out)).body.step).toBe(1);
    await writeFile(join(out, ".mine.partial"), "");
    await write("checkpoint-3", 3);
    expect(await readdir(out)).toEqual([".mine.partial", "checkpoint-3"]);
  });

  test("of the highest step is the newest, warm starts come before", async () => {
    await write("checkpoint-10", 10);
    await writeFile(join(out, "metrics.jsonl"), "");
    // What a kill between the rename and the clearing away leaves behind.
    for (const name of ["checkpoint-9", "warm-start-900"]) {
      const other = await temporaryFolder();
      await writeCheckpoint(other, name, {}, async () => ({}));
      await rm(join(out, name), { recursive: true, force: true });
      const { rename } = await import("node:fs/promises");
      await rename(join(other, name), join(out, name));
    }
    expect((await readCheckpoint<{ step: number }>(out)).body.step).toBe(10);
  });
});

describe("a damaged checkpoint is refused with what is wrong", () => {
  const at = (name: string) => join(out, "checkpoint-5", name);
  const edit = async (change: (text: string) => string) =>
    writeFile(at("state.json"), change(await readFile(at("state.json"), "utf8")));

  test.each<[string, () => Promise<void>, RegExp]>([
    ["nothing there", () => rm(join(out, "checkpoint-5"), { recursive: true }), /there is none/],
    ["no folder", () => rm(out, { recursive: true }), /cannot be read \(ENOENT/],
    ["a file is missing", () => rm(at("weights.bin")), /weights\.bin but it cannot be read/],
    [
      "a file is shorter",
      () => truncate(at("weights.bin"), 3),
      /weights\.bin but it has 3 bytes instead of 4/,
    ],
    [
      "a byte differs",
      () => writeFile(at("weights.bin"), Uint8Array.of(1, 2, 4, 5)),
      /weights\.bin but its checksum/,
    ],
    [
      "state.json is missing",
      () => rm(at("state.json")),
      /state\.json but it cannot be read \(ENOENT/,
    ],
    ["state.json is cut off", () => truncate(at("state.json"), 40), /it is not readable JSON/],
    ["state.json is empty", () => truncate(at("state.json"), 0), /it is not readable JSON/],
    [
      "state.json is something else",
      () => writeFile(at("state.json"), "null"),
      /it is not an object/,
    ],
    [
      "a value differs",
      () => edit((text) => text.replace("1.5", "2.5")),
      /state\.json but its checksum/,
    ],
    [
      "of a later format",
      () => edit((text) => text.replace('"format":1', '"format":2')),
      /its format is 2; this version reads 1/,
    ],
  ])("%s", async (_, damage, message) => {
    await write("checkpoint-5", 5);
    await damage();
    await expect(readCheckpoint(out)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringMatching(message),
    });
  });
});
