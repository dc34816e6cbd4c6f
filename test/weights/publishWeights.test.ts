import { appendFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { checkPublished, publishedWeights } from "../../src/weights/publishedWeights.js";
import { publishWeights } from "../../src/weights/publishWeights.js";
import { temporaryFolder } from "../folders.js";

/** A policy is whatever writes files. */
const policy = (text: string) => ({
  save: async (into: string) => {
    await writeFile(join(into, "a.txt"), text);
    await writeFile(join(into, "b.txt"), `${text}${text}`);
  },
});

describe("published weights", () => {
  it("are those published last, whatever their version", async () => {
    const at = join(await temporaryFolder(), "not", "there yet");
    expect(await publishedWeights(at)).toBeNull();
    const first = await publishWeights(at, 7, policy("seven"));
    expect(await publishedWeights(at)).toEqual(first);
    const second = await publishWeights(at, 2, policy("two"));
    expect(await publishedWeights(at)).toEqual(second);
    expect(second.version).toBe(2);
    expect(await readFile(join(second.folder, "b.txt"), "utf8")).toBe("twotwo");
  });

  it("of other bytes have another fingerprint, of the same bytes the same", async () => {
    const at = await temporaryFolder();
    const print = async (text: string) => (await publishWeights(at, 1, policy(text))).fingerprint;
    const one = await print("one");
    expect(await print("two")).not.toBe(one);
    expect(await print("one")).toBe(one);
  });

  it("stay beside the next ones for who still reads them, and no longer", async () => {
    const at = await temporaryFolder();
    const folders: string[] = [];
    for (let version = 0; version < 4; ++version) {
      folders.push((await publishWeights(at, version, policy(`${version}`))).folder);
    }
    const left = (await readdir(at)).filter((name) => name.startsWith("weights-"));
    expect(left.map((name) => join(at, name)).sort()).toEqual(folders.slice(2).sort());
  });

  it("that were not written to the end are never named", async () => {
    const at = await temporaryFolder();
    const whole = await publishWeights(at, 1, policy("one"));
    const failing = {
      async save(into: string) {
        await policy("two").save(into);
        throw new Error("no space left");
      },
    };
    await expect(publishWeights(at, 2, failing)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining("no space left"),
    });
    expect(await publishedWeights(at)).toEqual(whole);
    // What is left of them goes with the next ones.
    await publishWeights(at, 3, policy("three"));
    expect((await readdir(at)).filter((name) => name.startsWith("weights-2-"))).toEqual([]);
  });

  it("that have changed on the disk are refused with the file", async () => {
    const at = await temporaryFolder();
    const published = await publishWeights(at, 1, policy("one"));
    await checkPublished(published);
    const path = join(published.folder, "b.txt");
    await writeFile(path, "onetwo");
    await expect(checkPublished(published)).rejects.toThrow(`${path} but its checksum`);
    await appendFile(path, "more");
    await expect(checkPublished(published)).rejects.toThrow(`${path} but it has 10 bytes`);
    await rm(path);
    await expect(checkPublished(published)).rejects.toThrow(`${path} but it is missing`);
  });

  it.each(["", "{}", '{"format":1,"version":1,"folder":"../../etc","files":{}}'])(
    "are refused where weights.json is %j",
    async (text) => {
      const at = await temporaryFolder();
      await writeFile(join(at, "weights.json"), text);
      await expect(publishedWeights(at)).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
      // Publishing mends it.
      await publishWeights(at, 1, policy("one"));
      expect((await publishedWeights(at))?.version).toBe(1);
    },
  );
});
