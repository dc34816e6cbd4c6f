import type { Bench, WholeBench } from "../bench/kernel.js";
import { summarize } from "../bench/measure.js";
import { kernelBenches } from "../bench/registry.js";
import { Engine, train } from "../index.js";

const steps = 8;

/** Whole steps of the embedded policy: sampling, rewards, advantages, backward, optimiser. */
const trainingStep: WholeBench = {
  name: "training-step",
  about: "a whole GRPO step of the embedded policy on sums of digits, after its warm start",
  async measure({ device, threads }) {
    const engine = new Engine({ device, threads });
    try {
      const ms: number[] = [];
      const speeds: Record<"generate" | "train", number[]> = { generate: [], train: [] };
      let tokens = 0;
      await train({
        engine,
        steps,
        evalSteps: null,
        evalSamples: 1,
        seed: 0,
        onStep: ({ step, metrics }) => {
          if (step < 2) return; // evaluation, and the first step that fills pools and caches
          ms.push(1000 * metrics.step_time!);
          tokens = metrics["completions/mean_length"]!;
          for (const name of ["generate", "train"] as const) {
            speeds[name].push(metrics[`tokens_per_second/${name}`]!);
          }
        },
      });
      const median = (values: readonly number[]) => summarize(values).medianMs;
      return {
        variant: "",
        device: engine.device,
        threads: engine.info.threads,
        shape: [Math.round(tokens)],
        dtype: "f32",
        ...summarize(ms),
        peakMemoryBytes: engine.memory().peak,
        tokensPerS: { generate: median(speeds.generate), train: median(speeds.train) },
      };
    } finally {
      engine.dispose();
    }
  },
};

/** All that `firesteel bench` can time. */
export const benches: readonly Bench[] = [...kernelBenches, trainingStep];
