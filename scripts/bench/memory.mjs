// Memory over many training steps: node scripts/bench/memory.mjs [--steps 10000] [--system grpo] [--json]
// Small steps, many of them: what a step leaves behind would add up. Resident memory, JavaScript's heap and the
// engine's tensors are read 20 times; the slope is that of the second half, by least squares.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Engine, train } from "../../dist/index.js";

const { values: flags } = parseArgs({
  options: {
    steps: { type: "string", default: "10000" },
    system: { type: "string", default: "grpo" },
    json: { type: "boolean", default: false },
  },
});
const steps = Number(flags.steps);
const every = Math.max(1, Math.floor(steps / 20));
const out = mkdtempSync(join(tmpdir(), "firesteel-memory-"));
const engine = new Engine({ device: "cpu" });
const mib = (bytes) => bytes / 2 ** 20;
const samples = [];

await train({
  ...{ engine, system: flags.system, out, steps, warmStart: false },
  ...{ promptsPerStep: 4, numGenerations: 4, minibatchSize: 16 },
  ...{ evalSteps: null, evalSamples: 1, saveSteps: Math.max(1, Math.floor(steps / 4)) },
  onStep({ step }) {
    if (step === 0 || step % every !== 0) return;
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    const { live, pooled } = engine.memory();
    samples.push({
      step,
      rss: mib(rss),
      heap: mib(heapUsed),
      live: mib(live),
      pooled: mib(pooled),
    });
    if (!flags.json) {
      const last = samples.at(-1);
      const cells = Object.entries(last).map(([name, value]) => `${name} ${value.toFixed(1)}`);
      console.log(cells.join("  "));
    }
  },
});
engine.dispose();
rmSync(out, { recursive: true });

/** MiB per 1,000 steps. */
function slope(name) {
  const half = samples.slice(samples.length >> 1);
  const mean = (of) => half.reduce((sum, sample) => sum + of(sample), 0) / half.length;
  const [x, y] = [mean((s) => s.step), mean((s) => s[name])];
  const covariance = mean((s) => (s.step - x) * (s[name] - y));
  return (1000 * covariance) / mean((s) => (s.step - x) ** 2);
}
const slopes = Object.fromEntries(["rss", "heap", "live"].map((name) => [name, slope(name)]));
if (flags.json) console.log(JSON.stringify({ steps, samples, mibPer1000Steps: slopes }));
else console.log(`MiB per 1,000 steps, second half: ${JSON.stringify(slopes)}`);
