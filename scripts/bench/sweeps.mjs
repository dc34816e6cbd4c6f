// Cost against work: what is swept, and one point of it. Run as a program it measures one point, in a process
// of its own so that the resident memory is that point's: node sweeps.mjs NAME SIZE THREADS
import { fileURLToPath } from "node:url";

const powers = (from, to, step = 2) => {
  const sizes = [];
  for (let size = from; size <= to; size *= step) sizes.push(size);
  return sizes;
};

/** Values that repeat: no kernel's time depends on them, and drawing a million takes longer than timing. */
const values = (count, scale = 1) => {
  const data = new Float32Array(count);
  for (let i = 0; i < count; ++i) data[i] = scale * Math.sin(1 + (i % 8191));
  return data;
};
const evenOffsets = (rows, total) =>
  Int32Array.from({ length: rows + 1 }, (_, r) => (r * total) / rows);
const rowLength = 64;

/** `want`: the exponent that the cost should have; `make` returns the call, given the library. */
export const sweeps = [
  {
    name: "surrogate",
    of: "tokens",
    fixed: "rows of 64",
    sizes: powers(2 ** 10, 2 ** 20, 4),
    want: 1,
    make({ surrogate, Offsets }, engine, T) {
      const rowOffsets = new Offsets(engine, evenOffsets(T / rowLength, T));
      const [logProb, oldLogProb] = [engine.tensor(values(T)), engine.tensor(values(T, 0.9))];
      const advantage = engine.tensor(values(T / rowLength));
      return () =>
        surrogate(
          engine,
          { logProb, oldLogProb, advantage, rowOffsets },
          { aggregation: "token-mean" },
        );
    },
  },
  {
    name: "log-prob by tokens",
    of: "tokens",
    fixed: "V = 256, bf16",
    sizes: powers(2 ** 10, 2 ** 20, 4),
    want: 1,
    make({ logProb }, engine, T) {
      const logits = engine.empty([T, 256], "bf16");
      const part = new Uint16Array(2 ** 18).map((_, i) => 0x3f80 + (i % 200));
      for (let t = 0; t < T; t += 1024) logits.rows(t, t + 1024).write(part);
      const targets = engine.tensor(new Int32Array(T).map((_, t) => t % 256));
      return () => logProb(engine, logits, targets);
    },
  },
  {
    name: "log-prob by vocabulary",
    of: "vocabulary",
    fixed: "64 tokens, f32",
    sizes: powers(2 ** 10, 2 ** 18, 4),
    want: 1,
    make({ logProb }, engine, V) {
      const logits = engine.tensor(values(64 * V, 3), [64, V]);
      const targets = engine.tensor(new Int32Array(64));
      return () => logProb(engine, logits, targets);
    },
  },
  {
    name: "linear-log-prob by vocabulary",
    of: "vocabulary",
    fixed: "[128, 64] hidden, f32",
    sizes: powers(2 ** 10, 2 ** 18, 4),
    want: 1,
    make({ linearLogProb }, engine, V) {
      const hidden = engine.tensor(values(128 * 64), [128, 64]);
      const weight = engine.tensor(values(V * 64), [V, 64]);
      const targets = engine.tensor(new Int32Array(128));
      return () => linearLogProb(engine, hidden, weight, targets);
    },
  },
  {
    name: "group-norm, mean and std",
    of: "rows of a group",
    fixed: "256 groups",
    sizes: [2, 8, 32, 128, 512, 1024],
    want: 1,
    make: groups({ center: "mean", scale: "std" }),
  },
  {
    name: "group-norm, medians",
    of: "rows of a group",
    fixed: "256 groups",
    sizes: [2, 8, 32, 128, 512, 1024],
    want: 1,
    make: groups({ center: "median", scale: "median-deviation" }),
  },
];

function groups(options) {
  return ({ groupNorm, Offsets }, engine, size) => {
    const groupOffsets = new Offsets(engine, evenOffsets(256, 256 * size));
    const rewards = engine.tensor(values(256 * size));
    return () => groupNorm(engine, rewards, { ...options, groupOffsets });
  };
}

/**
 * The exponent e of time = c size^e: the slope of log time over log size by least squares, over the sizes
 * where work outweighs the call (at least ten times the fastest point's time where there are three such,
 * else the three largest).
 */
export function exponent(points) {
  const least = Math.min(...points.map(({ ms }) => ms));
  const heavy = points.filter(({ ms }) => ms >= 10 * least);
  const used = (heavy.length >= 3 ? heavy : points.slice(-3)).map(({ size, ms }) => [
    Math.log(size),
    Math.log(ms),
  ]);
  const mean = (k) => used.reduce((sum, p) => sum + p[k], 0) / used.length;
  const [x, y] = [mean(0), mean(1)];
  const over = used.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  return over / used.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, size, threads] = process.argv.slice(2);
  const library = await import("../../dist/index.js");
  const { Offsets } = await import("../../dist/engine/offsets.js");
  const { measure } = await import("../../dist/bench/measure.js");
  const engine = new library.Engine({ threads: Number(threads) });
  const call = sweeps
    .find((s) => s.name === name)
    .make({ ...library, Offsets }, engine, Number(size));
  engine.scope(() => void call());
  await engine.synchronize();
  const { peak } = engine.memory();
  const { medianMs: ms } = await measure(engine, call, { samples: 9, sampleMs: 5, budgetMs: 200 });
  console.log(
    JSON.stringify({ size: Number(size), ms, peak, rss: process.resourceUsage().maxRSS * 1024 }),
  );
  engine.dispose();
}
