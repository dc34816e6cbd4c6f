// Reading memory, and what grows in it.
import { setImmediate as turn } from "node:timers/promises";
import { tQuantile } from "../../dist/index.js";

/** What is read, in bytes: of the process, of the thread's JavaScript, of the engine. */
export const quantities = ["rss", "heapUsed", "external", "live", "pooled"];

/** Memory after a collection: what is left is held by something. Needs --expose-gc to say that. */
export async function readMemory(engine) {
  // What a collection finds is freed in the turn after it; the second takes what that has let go of.
  for (let i = 0; i < 2; ++i) {
    globalThis.gc?.();
    await turn();
  }
  const { rss, heapUsed, external } = process.memoryUsage();
  const { live, pooled } = engine.memory();
  return { rss, heapUsed, external, live, pooled };
}

/**
 * How steeply y rises with x: least squares, with a 95% interval. Readings that follow each other hang together
 * (memory is handed back in large pieces), so they count as fewer than they are: n (1 - r) / (1 + r), r the
 * correlation of neighbouring residuals, as for an autoregressive series of first order.
 */
export function slopeOf(points) {
  const n = points.length;
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / n;
  const [x, y] = [mean((p) => p.x), mean((p) => p.y)];
  const spread = points.reduce((sum, p) => sum + (p.x - x) ** 2, 0);
  const slope = points.reduce((sum, p) => sum + (p.x - x) * (p.y - y), 0) / spread;
  const residuals = points.map((p) => p.y - y - slope * (p.x - x));
  const squares = residuals.reduce((sum, r) => sum + r * r, 0);
  const neighbours = residuals.slice(1).reduce((sum, r, i) => sum + r * residuals[i], 0);
  const r = squares > 0 ? Math.max(0, Math.min(0.99, neighbours / squares)) : 0;
  const count = Math.max(3, (n * (1 - r)) / (1 + r));
  const error = Math.sqrt(squares / spread / (count - 2));
  const half = tQuantile(0.975, Math.max(1, Math.floor(count - 2))) * error;
  return { slope, low: slope - half, high: slope + half };
}

/**
 * The slope of every quantity over the last two thirds of the readings, in KiB per 1,000 of what is counted: the
 * first third is compilation, pools that fill and caches that grow to their bounds.
 *
 * @param samples [{ at, rss, heapUsed, ... }]
 * @param bound bytes per thing counted that a quantity may rise by; beyond it where the interval's lower end is
 */
export function judge(samples, bound) {
  const last = samples.slice(Math.floor(samples.length / 3));
  const kib = (bytes) => (bytes * 1000) / 1024;
  const slopes = Object.fromEntries(
    quantities.map((name) => {
      const { slope, low, high } = slopeOf(last.map((s) => ({ x: s.at, y: s[name] })));
      const held = low <= bound;
      return [name, { kibPer1000: kib(slope), low: kib(low), high: kib(high), held }];
    }),
  );
  return { slopes, boundKibPer1000: kib(bound), held: quantities.every((q) => slopes[q].held) };
}

/** The closing table of a part. */
export function table(samples, { slopes, boundKibPer1000 }) {
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
  const number = (value) => value.toFixed(2);
  const [first] = samples.slice(Math.floor(samples.length / 3));
  const last = samples.at(-1);
  const rows = quantities.map((name) => {
    const { kibPer1000, low, high, held } = slopes[name];
    const interval = `${number(low)} to ${number(high)}`;
    return [
      name,
      mib(first[name]),
      mib(last[name]),
      number(kibPer1000),
      interval,
      held ? "flat" : "RISES",
    ];
  });
  const head = ["", `MiB at ${first.at}`, `MiB at ${last.at}`, "KiB per 1,000", "95% interval", ""];
  const cells = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const lines = cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  "));
  const bound = `rises where the interval lies above ${number(boundKibPer1000)} KiB per 1,000`;
  return [...lines.map((line) => line.trimEnd()), bound].join("\n");
}
