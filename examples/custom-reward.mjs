// A reward of one's own beside the task's: asynchronous, under a time limit. And a callback that ends the run.
// Run: node custom-reward.mjs
import { setTimeout as delay } from "node:timers/promises";
import { tasks, train } from "firesteel";
import { guarded } from "firesteel/blocks";

/** Stands for a judge over the network: answers after a millisecond, and every fiftieth time not at all. */
let calls = 0;
async function askJudge(text, signal) {
  calls += 1;
  const silent = calls % 50 === 0;
  await delay(silent ? 60_000 : 1, undefined, { signal });
  return /^\d{3}$/.test(text) ? 1 : 0;
}

/** A reward gives one number per completion, or null where it does not apply. */
async function threeDigits({ completions, signal }) {
  return Promise.all(completions.map((text) => askJudge(text, signal)));
}

const task = {
  ...tasks.arithmetic,
  evaluations: {},
  rewards: {
    ...tasks.arithmetic.rewards,
    // One call per completion, eight at once. A late answer is null: that completion counts without this reward.
    format: guarded(threeDigits, {
      batch: "each",
      concurrency: 8,
      timeoutSeconds: 0.25,
      onFailure: "null",
    }),
  },
  rewardWeights: { correct: 1, format: 0.5 },
};

/** Reports each step, and ends the run once nine of ten answers have the form. */
const watch = {
  step({ step, metrics }) {
    if (step === 0) return; // the evaluation before the first step
    const format = metrics["rewards/format/mean"];
    const late = 100 * metrics["rewards/format/failed_ratio"];
    console.log(`step ${step}: format ${format.toFixed(2)}, ${late.toFixed(1)}% too late`);
    if (format > 0.9) return "stop";
  },
  end({ step }) {
    console.log(`ended after step ${step}; the judge was asked ${calls} times`);
  },
};

const { stoppedBy } = await train({
  task,
  system: "grpo",
  device: "cpu",
  seed: 1,
  warmStart: false, // from random weights
  steps: 40,
  promptsPerStep: 16,
  numGenerations: 8,
  learningRate: 2e-3,
  evalSteps: null,
  evalSamples: 1,
  callbacks: [watch],
});
console.log(`stopped by: ${stoppedBy}`);
