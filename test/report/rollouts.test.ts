import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Group, PhaseReport, RunFrame, Tokenizer } from "../../src/contract/index.js";
import { chooseGroups } from "../../src/report/rollouts/chooseGroups.js";
import { embeddedRollouts } from "../../src/report/rollouts/embed.js";
import { RolloutRecord } from "../../src/report/rollouts/record.js";
import {
  limits,
  type RecordedRollout,
  recordedRollout,
} from "../../src/report/rollouts/rollout.js";
import { tokenTexts } from "../../src/report/rollouts/tokenTexts.js";
import { train } from "../../src/train.js";
import { rolloutOf } from "../blocks/trajectories.js";
import { temporaryFolder } from "../folders.js";
import { twoPhaseRun } from "./twoPhases.js";

async function record(out: string): Promise<RecordedRollout[]> {
  const text = await readFile(join(out, "rollouts.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("rollouts.jsonl", () => {
  test("has the asked number of groups of every phase and step, token by token", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...twoPhaseRun, steps: 2, out, recordRollouts: 2 });
    const lines = await record(out);
    expect(lines).toHaveLength(2 * 2 * 2 * 4);
    const groups = new Set(lines.map(({ step, phase, group }) => `${step} ${phase} ${group}`));
    expect(groups.size).toBe(2 * 2 * 2);
    expect([...new Set(lines.map(({ phase, kind }) => `${phase}: ${kind}`))]).toEqual([
      "policy: policy",
      "recycled: pointwise",
      "recycled: pairwise",
    ]);
    for (const line of lines) {
      const { tokens, advantage, logProb, mask, prompt, label } = line;
      expect(prompt).toMatch(/^[0-3]{4}(=|\?[0-3]:|\|[0-3]\|[0-3]:)$/);
      expect(label).toMatch(/^[0-3yA]$/);
      for (const column of [advantage, logProb, mask]) expect(column).toHaveLength(tokens!.length);
      expect(logProb!.every((value) => value! <= 0)).toBe(true);
      expect(line.right).toBe(line.reward === 1);
      expect(line.rewards).toEqual({ correct: line.reward });
      // The token that ends a completion has no text.
      expect(tokens!.at(-1) === "").toBe(line.finish === "stop");
    }
  });

  test("of a resumed run is that of one that never stopped, whatever a killed one left", async () => {
    const options = { ...twoPhaseRun, recordRollouts: 1, recordEvery: 2 };
    const whole = join(await temporaryFolder(), "whole");
    await train({ ...options, out: whole });
    const killed = join(await temporaryFolder(), "killed");
    const dying = train({
      ...options,
      out: killed,
      callbacks: [{ phase: ({ step }) => step === 4 && Promise.reject(new Error("killed")) }],
    });
    await expect(dying).rejects.toThrow("killed");
    await appendFile(join(killed, "rollouts.jsonl"), '{"every":2,"step":4,"pha');
    await train({
      ...{ resume: killed, system: twoPhaseRun.system, task: twoPhaseRun.task },
      ...{ recordRollouts: 1, recordEvery: 2 },
    });
    expect(await record(killed)).toEqual(await record(whole));
    const { system, task } = twoPhaseRun;
    await expect(train({ resume: killed, system, task, steps: 6, recordEvery: 3 })).rejects.toThrow(
      "Expected 2, or what the run's record began with, for recordEvery but received 3",
    );
    expect(new Set((await record(whole)).map(({ step }) => step))).toEqual(new Set([2, 4]));
  });

  test("is not there where no rollouts are asked for", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...twoPhaseRun, steps: 1, out, recordRollouts: 0 });
    await expect(record(out)).rejects.toThrow("ENOENT");
  });
});

function groupOf(key: string, kind: string, ids: readonly number[]): Group {
  const trajectories = ids.map((id) => ({ ...rolloutOf(1, { length: 3 }), id }));
  const prompt = { ...trajectories[0]!.prompt, kind };
  return { key, prompt, trajectories: trajectories.map((t) => ({ ...t, prompt })) };
}

const reportOf = (step: number, groups: Group[], trained = groups): PhaseReport => ({
  ...{ step, phase: "policy", groups, trained, metrics: {} },
});

const frameOf = (out: string, resumedAt = -1) =>
  ({ out, resumedAt, task: { accuracy: "correct" }, tokenizer: null }) as unknown as RunFrame;

/** Ten thousand steps of a record that may take 20,000 bytes. */
async function longRecord(out: string, from: number, to: number): Promise<void> {
  const recorder = new RolloutRecord({ groups: 2, every: 1, maxBytes: 20_000 });
  await recorder.begin(frameOf(out, from === 1 ? -1 : from - 1));
  for (let step = from; step <= to; ++step) {
    recorder.phase(reportOf(step, [groupOf(`g${step}`, "policy", [0, 1])]));
    await recorder.step({ step, steps: to, metrics: {} });
  }
}

describe("a long record", () => {
  test("stays within its size and covers the run evenly", async () => {
    const out = await temporaryFolder();
    await longRecord(out, 1, 10_000);
    const bytes = (await readFile(join(out, "rollouts.jsonl"))).length;
    expect(bytes).toBeLessThanOrEqual(20_000);
    expect(bytes).toBeGreaterThan(5_000);
    const steps = [...new Set((await record(out)).map(({ step }) => step))];
    const gaps = new Set(steps.map((step, i) => step - (steps[i - 1] ?? 0)));
    expect(gaps.size).toBe(1);
    expect(steps.at(-1)).toBeGreaterThan(10_000 - steps[0]! - 1);
  });

  test("is the same where the run was resumed on the way", async () => {
    const [whole, parts] = [await temporaryFolder(), await temporaryFolder()];
    await longRecord(whole, 1, 1000);
    await longRecord(parts, 1, 700);
    await longRecord(parts, 400, 1000);
    expect(await record(parts)).toEqual(await record(whole));
  });

  test("has room for more than one step, however long the completions", async () => {
    const out = await temporaryFolder();
    const recorder = new RolloutRecord({ groups: 8, every: 1, maxBytes: 20_000 });
    await recorder.begin(frameOf(out));
    const long = Array.from({ length: 8 }, (_, g) =>
      groupOf(`g${g}`, "policy", [4 * g, 4 * g + 1]),
    );
    for (const step of [1, 2, 3]) {
      recorder.phase(reportOf(step, long.concat(long, long, long)));
      await recorder.step({ step, steps: 3, metrics: {} });
    }
    expect(new Set((await record(out)).map(({ step }) => step)).size).toBe(3);
  });
});

describe("what is recorded of a phase", () => {
  test("every kind of prompt, while there is room", () => {
    const groups = [
      groupOf("a", "pointwise", [0]),
      groupOf("b", "pointwise", [1]),
      groupOf("c", "reflection", [2]),
    ];
    const keys = (count: number) => chooseGroups(reportOf(1, groups), count).map(({ key }) => key);
    expect(keys(1)).toEqual(["a"]);
    expect(keys(2)).toEqual(["a", "c"]);
    expect(keys(9)).toEqual(["a", "c", "b"]);
  });

  test("groups that a filter sampled afresh", () => {
    const first = groupOf("a", "policy", [0]);
    const fresh = groupOf("b", "policy", [7]);
    expect(chooseGroups(reportOf(1, [first], [fresh]), 4)).toEqual([first, fresh]);
  });

  test("columns of every level, by action; what was filtered out has none and is not trained", () => {
    const place = { every: 1, step: 1, phase: "policy", group: "a" };
    const whole = { ...rolloutOf(1, { length: 3 }), columns: {} };
    const trained = {
      ...whole,
      mask: Uint8Array.of(1, 1, 0),
      columns: {
        advantage: {
          level: "segment" as const,
          values: Float32Array.of(0.5, -1),
          bounds: Int32Array.of(0, 1, 3),
        },
        weight: { level: "row" as const, value: 2 },
        samplerLogProb: {
          level: "action" as const,
          values: Float32Array.of(-1, NaN, -0.123456789),
        },
      },
    };
    expect(recordedRollout(place, whole, trained, "correct", null)).toMatchObject({
      ...{ advantage: [0.5, -1, -1], weight: [2, 2, 2], mask: [1, 1, 0] },
      ...{ logProb: [-1, null, -0.12346], tokens: null },
    });
    expect(recordedRollout(place, whole, null, "correct", null)).toMatchObject({
      ...{ advantage: null, weight: null, mask: [0, 0, 0], cut: 0 },
    });
  });

  test("of a very long completion, its beginning", () => {
    const place = { every: 1, step: 1, phase: "policy", group: "a" };
    const whole = rolloutOf(1, { length: limits.actions + 5 });
    const line = recordedRollout(place, whole, whole, "correct", null);
    expect(line.mask).toHaveLength(limits.actions);
    expect(line.cut).toBe(5);
  });
});

test("characters of several tokens, and spaces that a decoder drops at the beginning, stay whole", () => {
  // As byte-level and sentence-piece tokenizers decode.
  const bytes = [...Buffer.from(" é x")].map((byte) => [byte]);
  const tokenizer: Tokenizer = {
    ...{ vocabularySize: bytes.length, endOfSequence: 99 },
    encode: () => new Int32Array(0),
    decode: (ids) =>
      Buffer.from([...ids].flatMap((id) => bytes[id] ?? []))
        .toString()
        .trimStart(),
  };
  const ids = Int32Array.from([...bytes.keys(), 99]);
  const texts = tokenTexts(ids, tokenizer);
  expect(texts).toEqual(["", "", "é", " ", "x", ""]);
  expect(texts.join("")).toBe(tokenizer.decode(ids));
});

describe("rollouts of a page", () => {
  const lines = (steps: number): RecordedRollout[] =>
    Array.from({ length: 2 * steps }, (_, i) => {
      const place = { every: 1, step: 1 + Math.floor(i / 2), phase: "policy", group: "a" };
      return recordedRollout(
        place,
        { ...rolloutOf(1, { length: 3 }), id: i },
        null,
        "correct",
        null,
      );
    });

  test("share what is the same, and one value throughout is said once", () => {
    const groups = embeddedRollouts(lines(3));
    expect(groups.map(({ step, rollouts }) => [step, rollouts.length])).toEqual([
      ...[
        [1, 2],
        [2, 2],
        [3, 2],
      ],
    ]);
    expect(groups[0]!.rollouts[0]).toMatchObject({ mask: 0, advantage: null });
  });

  test("are those of evenly chosen steps where all would be too many, the last one among them", () => {
    const whole = Buffer.byteLength(JSON.stringify(embeddedRollouts(lines(100))));
    const some = embeddedRollouts(lines(100), whole / 3);
    const steps = some.map(({ step }) => step);
    expect(steps).toEqual(Array.from({ length: 25 }, (_, i) => 4 + 4 * i));
  });
});
