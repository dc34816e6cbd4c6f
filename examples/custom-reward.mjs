// A reward of one's own: asynchronous, under a time limit, beside the task's. And a callback that looks on.
// Run: node custom-reward.mjs
import { setTimeout as delay } from "node:timers/promises";
import { tasks, train } from "firesteel";
import { guarded } from "firesteel/blocks";

/** Stands for a judge over the network: thinks a millisecond, and now and then does not answer. */
let calls = 0;
async function askJudge(text, signal) {
  calls += 1;
  const slow = calls % 50 === 0;
  await delay(slow ? 60_000 : 1, undefined, { signal });
  return /^\d{3}$/.test(text) ? 1 : 0;
}

/** One number per completion; null where the reward does not apply. */
async function threeDigits({ completions, signal }) {
  return [await askJudge(completions[0], signal)];
}

const task = {
  ...tasks.arithmetic,
  evaluations: {},
  rewards: {
    ...tasks.arithmetic.rewards,
    // One call a completion, eight at once; who is too late leaves the statistics.
    format: guarded(threeDigits, {
      ...{ batch: "each", concurrency: 8, timeoutSeconds: 0.25, onFailure: "null" },
    }),
  },
  rewardWeights: { correct: 1, format: 0.5 },
};

/** Looks on, and ends the run once nine of ten answers have the form. */
const watch = {
  step({ step, metrics }) {
    if (step === 0) return;
    const format = metrics["rewards/format/mean"];
    const failed = metrics["rewards/format/failed_ratio"];
    console.log(
      `step ${step}: format ${format.toFixed(2)}, ${(100 * failed).toFixed(1)}% too late`,
    );
    if (format > 0.9) return "stop";
  },
  end({ step }) {
    console.log(`ended after step ${step}; the judge was asked ${calls} times`);
  },
};

const { stoppedBy } = await train({
  ...{ task, system: "grpo", device: "cpu", seed: 1, warmStart: false, callbacks: [watch] },
  ...{
    evalSteps: null,
    evalSamples: 1,
    steps: 40,
    promptsPerStep: 16,
    numGenerations: 8,
    learningRate: 2e-3,
  },
});
console.log(`stopped by: ${stoppedBy}`);
