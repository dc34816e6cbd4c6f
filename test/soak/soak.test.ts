import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { judge, quantities, slopeOf } from "./memory.mjs";

const script = join(import.meta.dirname, "run.mjs");

function run(...flags: string[]) {
  const args = ["--expose-gc", script, ...flags];
  return spawnSync(process.execPath, args, { encoding: "utf8", timeout: 55_000 });
}

/** Readings of a process whose memory moves by `perCall` bytes a call, beside steps of 4 MiB up and down. */
function readings(perCall: number) {
  return Array.from({ length: 60 }, (_, i) => {
    const at = 1000 * i;
    const value = 2 ** 28 + perCall * at + (i % 7 < 3 ? 2 ** 22 : 0);
    return { at, ...Object.fromEntries(quantities.map((name) => [name, value])) };
  });
}

describe("a slope", () => {
  test("is that of the readings, and its interval holds the truth", () => {
    const noise = (i: number) => Math.sin(12.9898 * i) * 40;
    const points = Array.from({ length: 60 }, (_, i) => ({ x: i, y: 5 * i + noise(i) }));
    const { slope, low, high } = slopeOf(points);
    expect(slope).toBeCloseTo(5, 0);
    expect(low).toBeLessThan(5);
    expect(high).toBeGreaterThan(5);
  });

  test("is less sure where readings hang together", () => {
    const wave = (period: number) =>
      slopeOf(
        Array.from({ length: 60 }, (_, i) => ({ x: i, y: Math.sin((2 * Math.PI * i) / period) })),
      );
    const width = ({ low, high }: { low: number; high: number }) => high - low;
    expect(width(wave(30))).toBeGreaterThan(3 * width(wave(2.5)));
  });

  test("of memory that stays within its steps is flat, that of a lost block a call is not", () => {
    expect(judge(readings(0), 32).held).toBe(true);
    const { held, slopes } = judge(readings(512), 32);
    expect(held).toBe(false);
    expect(slopes.rss!.kibPer1000).toBeCloseTo(500, -2);
  });
});

test("calls of every family and steps of training leave no tensor behind", () => {
  const { stdout, stderr } = run(
    "--calls",
    "4000",
    "--steps",
    "90",
    "--readings",
    "15",
    "--seed",
    "3",
    "--json",
  );
  expect(stderr).toBe("");
  const { calls, steps } = JSON.parse(stdout);
  expect(Object.values<number>(calls.families).reduce((a, b) => a + b, 0)).toBe(4000);
  expect(Math.min(...Object.values<number>(calls.families))).toBeGreaterThan(50);
  expect(Math.min(...Object.values<number>(calls.ways))).toBeGreaterThan(100);
  expect(calls.faultReports).toBeGreaterThan(0);
  // Compilation is not over after so few calls: of the process's memory the long form tells.
  expect(calls.leftBytes).toBe(0);
  expect(steps.leftBytes).toBe(0);
  expect(steps.samples.at(-1).live).toBe(steps.samples[8].live);
  expect(steps.files.reportBytes).toBeGreaterThan(10_000);
});

test.each([
  [["--steps", "many"], /a whole number from 0 on for --steps but received many/],
  [["--calls", "-1"], /--calls/],
  [["--calls", "10"], /at least 60/],
  [["--laps", "3"], /laps/],
])("%j is wrong use", (flags, message) => {
  const { status, stderr } = run(...flags);
  expect(status).toBe(2);
  expect(stderr).toMatch(message);
});
