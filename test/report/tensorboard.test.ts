import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { PbfReader } from "pbf";
import { describe, expect, test } from "vitest";
import { maskedChecksum, recordFrame } from "../../src/report/tensorboard/recordFrame.js";
import { train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf } from "../trainer/runs.js";
import { twoPhaseRun } from "./twoPhases.js";

interface Value {
  tag: string;
  number: number | null;
  plugin: string;
  dtype: number;
  size: number;
  text: string;
}

interface Event {
  wallTime: number;
  step: number;
  fileVersion: string;
  sessionStatus: number;
  values: Value[];
}

/** The records of a TFRecord file, every checksum held against one that is worked out bit by bit. */
function recordsOf(file: Buffer): Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(crc(file.subarray(at, at + 8))));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(data).toHaveLength(length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(crc(data)));
    records.push(data);
    at += length + 16;
  }
  return records;
}

/** Castagnoli's polynomial, reflected. */
function crc(data: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of data) {
    sum ^= byte;
    for (let bit = 0; bit < 8; ++bit) sum = (sum >>> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
  }
  return ~sum >>> 0;
}

const masked = (sum: number) =>
  Number(((BigInt(sum) >> 15n) | ((BigInt(sum) << 17n) & 0xffffffffn)) + 0xa282ead8n) % 2 ** 32;

function eventOf(data: Uint8Array): Event {
  const event: Event = { wallTime: 0, step: 0, fileVersion: "", sessionStatus: 0, values: [] };
  return new PbfReader(data).readFields((field, into, pbf) => {
    if (field === 1) into.wallTime = pbf.readDouble();
    else if (field === 2) into.step = pbf.readVarint();
    else if (field === 3) into.fileVersion = pbf.readString();
    else if (field === 5) pbf.readMessage(readSummary, into.values);
    else if (field === 7) pbf.readMessage(readSessionLog, into);
    else throw new Error(`a field ${field} in an event`);
  }, event);
}

function readSessionLog(field: number, into: Event, pbf: PbfReader): void {
  if (field === 1) into.sessionStatus = pbf.readVarint();
}

function readSummary(field: number, values: Value[], pbf: PbfReader): void {
  const empty = { tag: "", number: null, plugin: "", dtype: 0, size: 0, text: "" };
  if (field === 1) values.push(pbf.readMessage(readValue, empty as Value));
}

function readValue(field: number, into: Value, pbf: PbfReader): void {
  if (field === 1) into.tag = pbf.readString();
  else if (field === 2) into.number = pbf.readFloat();
  else if (field === 8) pbf.readMessage(readTensor, into);
  else if (field === 9) pbf.readMessage(readMetadata, into);
}

function readTensor(field: number, into: Value, pbf: PbfReader): void {
  const dimension = (inner: number, value: Value, from: PbfReader) => {
    if (inner === 1) value.size = from.readVarint();
  };
  const shape = (inner: number, value: Value, from: PbfReader) => {
    if (inner === 2) from.readMessage(dimension, value);
  };
  if (field === 1) into.dtype = pbf.readVarint();
  else if (field === 2) pbf.readMessage(shape, into);
  else if (field === 8) into.text = pbf.readString();
}

function readMetadata(field: number, into: Value, pbf: PbfReader): void {
  const plugin = (inner: number, value: Value, from: PbfReader) => {
    if (inner === 1) value.plugin = from.readString();
  };
  if (field === 1) pbf.readMessage(plugin, into);
}

async function eventsOf(out: string): Promise<Event[][]> {
  const folder = join(out, "tensorboard");
  const files = (await readdir(folder)).sort();
  for (const name of files) expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\.firesteel$/);
  const contents = files.map((name) => readFile(join(folder, name)));
  return (await Promise.all(contents)).map((file) => recordsOf(file).map(eventOf));
}

/** What TensorBoard shows: a restart voids what earlier files say of its step and later ones. */
function shown(files: readonly Event[][]): Map<string, [number, number][]> {
  const series = new Map<string, [number, number][]>();
  for (const event of files.flat()) {
    if (event.sessionStatus === 1) {
      for (const [tag, points] of series) {
        series.set(
          tag,
          points.filter(([step]) => step < event.step),
        );
      }
    }
    for (const { tag, number } of event.values) {
      if (number === null) continue;
      series.set(tag, [...(series.get(tag) ?? []), [event.step, number]]);
    }
  }
  return series;
}

/** The same from metrics.jsonl, as float32. */
async function expected(out: string): Promise<Map<string, [number, number][]>> {
  const series = new Map<string, [number, number][]>();
  for (const { step, ...metrics } of await metricsOf(out)) {
    for (const [tag, value] of Object.entries(metrics)) {
      if (value === null) continue;
      series.set(tag, [...(series.get(tag) ?? []), [step!, Math.fround(value)]]);
    }
  }
  return series;
}

const isTimed = (tag: string) => /(^|\/)(step_time$|tokens_per_second\/|time\/)/.test(tag);
const untimed = <T>(series: Map<string, T>) =>
  Object.fromEntries([...series].filter(([tag]) => !isTimed(tag)));

/** A run that was killed within its fourth step and went on from the second. */
async function killedAndResumed(): Promise<string> {
  const out = join(await temporaryFolder(), "run");
  const dying = train({
    ...{ ...twoPhaseRun, out, tensorboard: true, saveSteps: 2 },
    callbacks: [{ phase: ({ step }) => step === 4 && Promise.reject(new Error("killed")) }],
  });
  await expect(dying).rejects.toThrow("killed");
  const { system, task } = twoPhaseRun;
  await train({ resume: out, system, task, tensorboard: true });
  return out;
}

describe("TensorBoard's files", () => {
  test("hold every metric of every step under its name, and the printed system", async () => {
    const out = join(await temporaryFolder(), "run");
    await train({ ...twoPhaseRun, out, tensorboard: true });
    const [events, ...others] = await eventsOf(out);
    expect(others).toEqual([]);
    const [version, start, system, ...steps] = events!;
    expect(version).toMatchObject({ fileVersion: "brain.Event:2", values: [] });
    expect(start).toMatchObject({ sessionStatus: 1, step: 0 });
    const printed = await readFile(join(out, "system.txt"), "utf8");
    expect(system!.values).toEqual([
      {
        ...{ tag: "system", number: null, plugin: "text", dtype: 7, size: 1 },
        text: printed.replaceAll(/^/gm, "    "),
      },
    ]);
    expect(steps.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
    for (const { wallTime } of events!)
      expect(Math.abs(wallTime - Date.now() / 1000)).toBeLessThan(60);
    const series = shown([events!]);
    expect(untimed(series)).toEqual(Object.fromEntries(await expected(out)));
    expect([...series.keys()]).toContain("recycled/reward");
    expect(series.get("time/train")).toHaveLength(4);
  });

  test("of a resumed run are shown as those of one that never stopped", async () => {
    const out = await killedAndResumed();
    const files = await eventsOf(out);
    expect(files.map((events) => events.map(({ step }) => step))).toEqual([
      [0, 0, 0, 0, 1, 2, 3],
      [0, 3, 3, 3, 4],
    ]);
    expect(untimed(shown(files))).toEqual(Object.fromEntries(await expected(out)));
  });
});

test("records are framed with the published checksum", () => {
  // RFC 3720, B.4: 32 bytes of zeroes.
  expect(crc(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(maskedChecksum(new Uint8Array(32))).toBe(masked(0x8a9136aa));
  expect(recordFrame(new Uint8Array(3))).toHaveLength(19);
});

const python = process.env.FIRESTEEL_PYTHON ?? "python3";
const reader = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({
  "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
  "texts": events.Tags()["tensors"],
}))`;
const importable = spawnSync(python, ["-c", "import tensorboard"]).status === 0;
if (!importable) console.log("reading with Python's tensorboard is skipped: it is not importable");

test.skipIf(!importable)("Python's tensorboard reads the same", async () => {
  const out = await killedAndResumed();
  const { stdout, stderr } = spawnSync(python, ["-c", reader, join(out, "tensorboard")], {
    encoding: "utf8",
  });
  const read = JSON.parse(stdout || stderr) as {
    scalars: Record<string, unknown>;
    texts: string[];
  };
  expect(untimed(new Map(Object.entries(read.scalars)))).toEqual(
    Object.fromEntries(await expected(out)),
  );
  expect(read.texts).toEqual(["system"]);
});
