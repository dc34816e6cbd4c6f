import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { host } from "../../src/bench/inputs.js";
import { PeerProcess } from "../../src/bench/peers/child.js";
import { beside, difference, type Peer, type PeerTask } from "../../src/bench/peers/peer.js";
import { plainJavaScript } from "../../src/bench/peers/plain.js";

const task: PeerTask = {
  task: "group-norm",
  dtype: "f32",
  device: "cpu",
  threads: 1,
  sizes: { R: 4, G: 2 },
  inputs: { values: host(Float32Array.of(1, 3), "f32", [2], 2) },
  copies: 1,
};
const root = Math.SQRT1_2 / (1 + 1e-4 / Math.SQRT2);
const want = { advantage: Float64Array.of(-root, root, -root, root) };
const quick = { samples: 3, sampleMs: 0.1, budgetMs: 1 };

function peer(values: Record<string, number[]> | null): Peer {
  return {
    name: "someone",
    prepare: async () => values,
    time: async () => [3, 1, 2],
    release: async () => {},
    close: () => {},
  };
}

describe("a peer", () => {
  it("is timed when its results are firesteel's", async () => {
    const advantage = [...want.advantage];
    expect(await beside(peer({ advantage, more: [7] }), task, want, quick)).toEqual({
      ...{ medianMs: 2, p20Ms: 1, p80Ms: 3, difference: 0 },
    });
  });

  it("is not timed when they differ, and says by how much", async () => {
    const result = await beside(peer({ advantage: [-root, 2 * root] }), task, want, quick);
    expect(result).toMatchObject({ medianMs: null, reason: "differs by 1.0" });
    expect(result!.difference).toBeCloseTo(1, 9);
  });

  it("is not timed when it has nothing that could be compared, or NaN", async () => {
    const values: Record<string, number[]>[] = [{ other: [1] }, { advantage: [Number.NaN, 1] }, {}];
    for (const made of values) {
      const result = await beside(peer(made), task, want, quick);
      expect(result!.medianMs).toBeNull();
    }
  });

  it("has no part in work that it does not know", async () => {
    expect(await beside(peer(null), task, want, quick)).toBeNull();
  });

  it("that fails is a line in the results, not the end of them", async () => {
    const failing = { ...peer(null), prepare: () => Promise.reject(new Error("out of memory")) };
    expect(await beside(failing, task, want, quick)).toEqual({
      ...{ medianMs: null, reason: "out of memory" },
    });
  });
});

it("plain JavaScript does the work on inputs that stand there once", async () => {
  const result = await beside(plainJavaScript(), task, want, quick);
  expect(result!.difference).toBeLessThan(1e-6);
  expect(result!.medianMs).toBeGreaterThan(0);
});

it("differences are relative to the largest value", () => {
  expect(difference([1, 10.1], [1, 10])).toBeCloseTo(0.01, 9);
  expect(difference([], [1])).toBe(Number.POSITIVE_INFINITY);
  expect(difference([0, 0], [0, 0])).toBe(0);
});

describe("a process of peers", () => {
  const folder = mkdtempSync(join(tmpdir(), "firesteel-test-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const script = (text: string) => {
    const path = join(folder, `${text.length}.mjs`);
    writeFileSync(path, text);
    return new PeerProcess(process.execPath, [path], {});
  };
  const echo = `
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const reply = (x) => console.log(JSON.stringify(x));
console.log("a library says hello");
for await (const line of createInterface({ input: process.stdin })) {
  const { op, inputs } = JSON.parse(line);
  if (op === "hello") reply({ ok: true, peers: ["echo"], missing: [{ name: "x", reason: "y" }] });
  else if (op === "prepare") {
    const { file, repeat } = inputs.values;
    const bytes = readFileSync(file);
    const part = [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)];
    reply({ ok: true, values: { advantage: Array(repeat).fill(part).flat() } });
  } else if (op === "time") reply({ ok: false, error: "no clock here" });
  else reply({ ok: true });
}`;

  it("gets its inputs as files and answers line by line", async () => {
    const child = script(echo);
    try {
      const { peers, missing } = await child.hello();
      expect(missing).toEqual([{ name: "x", reason: "y" }]);
      expect(await peers[0]!.prepare(task)).toEqual({ advantage: [1, 3, 1, 3] });
      await expect(peers[0]!.time(quick)).rejects.toThrow("no clock here");
      await peers[0]!.release();
    } finally {
      child.close();
    }
  });

  it("that ends is an error with its last words", async () => {
    const child = script('process.stderr.write("no such library\\n"); process.exit(3);');
    await expect(child.hello()).rejects.toThrow(/ended with 3: no such library/);
    await expect(child.hello()).rejects.toThrow(/ended with 3/);
    child.close();
  });

  it("that is not there is an error too", async () => {
    const child = new PeerProcess("/nowhere/python3", [], {});
    await expect(child.hello()).rejects.toThrow("ENOENT");
    child.close();
  });
});
