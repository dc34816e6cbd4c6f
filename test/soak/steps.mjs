// A long run of the smallest policy through train(), with everything that a run leaves on the disk.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, tasks, train, writeReport } from "../../dist/index.js";
import { judge, readMemory } from "./memory.mjs";

/**
 * What the smallest thing costs that a step could leave behind: a listener, a promise or an entry of a map, with
 * what it refers to.
 */
const boundBytes = 64;

const { arithmetic } = tasks;

/** The arithmetic task in a policy of 8 numbers a token, and rollouts of two tokens. */
const task = {
  ...arithmetic,
  policy: { layers: 1, width: 8, heads: 1, kvHeads: 1, hidden: 8 },
  evaluation: arithmetic.evaluation.slice(0, 2),
  evaluations: {},
};

/**
 * Trains in two sittings: the second resumes where a tenth is done.
 *
 * @returns samples, slopes with what is held against them, and what the run's files and its report took
 */
export async function soakSteps({ steps, seed, system = "grpo", readings = 60, report }) {
  const out = mkdtempSync(join(tmpdir(), "firesteel-soak-"));
  const engine = new Engine({ device: "cpu", threads: 1 });
  const every = Math.max(1, Math.floor(steps / readings));
  const samples = [];
  const settings = {
    ...{ engine, system, task, seed, warmStart: false, out, tensorboard: true },
    ...{ promptsPerStep: 2, numGenerations: 2, maxCompletionLength: 2 },
    ...{ evalSteps: Math.max(1, Math.floor(steps / 50)), evalSamples: 1 },
    ...{ saveSteps: Math.max(1, Math.floor(steps / 100)), keepCheckpoints: 2, keepBest: true },
    async onStep({ step }) {
      if (step === 0 || step % every !== 0) return;
      samples.push({ at: step, ...(await readMemory(engine)) });
      report?.("steps", samples.at(-1));
    },
  };
  // Systems with minibatches of their own refuse others.
  if (system === "grpo") settings.minibatchSize = 4;
  const first = Math.max(1, Math.floor(steps / 10));
  try {
    await train({ ...settings, steps: first });
    const { seconds } = await train({ ...settings, steps, out: undefined, resume: out });
    const peak = process.resourceUsage().maxRSS;
    const begun = performance.now();
    const page = await writeReport(out);
    return {
      ...{ steps, system, seconds, samples, ...judge(samples, boundBytes) },
      files: {
        metricsBytes: statSync(join(out, "metrics.jsonl")).size,
        rolloutsBytes: statSync(join(out, "rollouts.jsonl")).size,
        reportBytes: page.bytes,
        reportSeconds: (performance.now() - begun) / 1000,
        // How much higher the process's high-water mark is for having made the page.
        reportPeakBytes: (process.resourceUsage().maxRSS - peak) * 1024,
      },
    };
  } finally {
    engine.dispose();
    rmSync(out, { recursive: true, force: true });
  }
}
