import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groupNormalize, type SurrogateOptions, surrogate } from "../../src/blocks/index.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import { defineSystem } from "../../src/systems/defineSystem.js";
import { train } from "../../src/train.js";
import { small, temporaryFolder } from "./runs.js";

/** The gradient of one update over 16 rollouts: AdamW's first moment after it, up to a factor. */
async function gradient(loss: SurrogateOptions, microBatchSize: number): Promise<Float32Array> {
  const out = join(await temporaryFolder(), "run");
  const system = defineSystem({
    ...{ id: "test", title: "For a test", arxiv: null, evidence: "low" },
    advantage: groupNormalize(),
    loss: [surrogate(loss)],
  });
  const once = { ...small, steps: 1, minibatchSize: 16, maxGradNorm: null };
  await train({ ...once, warmStart: false, evalSteps: null, system, microBatchSize, out });
  const path = join(out, "checkpoint-1", "policy.optimizer.safetensors");
  const { tensors } = await readSafetensors(path);
  const moments = [...tensors].filter(([name]) => name.startsWith("m."));
  return Float32Array.from(moments.flatMap(([, { data }]) => [...data]));
}

const norm = (values: Float32Array) => Math.hypot(...values.map((value) => value));

describe("gradients accumulated over micro-batches are those of the whole minibatch", () => {
  test.each<SurrogateOptions>([
    { aggregation: "token-mean", beta: 0.1, entropyCoefficient: 0.01 },
    { aggregation: "seq-mean-token-mean" },
    { aggregation: "balanced" },
    { level: "sequence", aggregation: "seq-mean-token-mean", epsilon: 3e-4 },
  ])("%j", async (loss) => {
    const whole = await gradient(loss, 16);
    expect(norm(whole)).toBeGreaterThan(0);
    for (const size of [1, 3, 7]) {
      const parts = await gradient(loss, size);
      // Sums in another order: float32 rounding.
      expect(norm(parts.map((value, i) => value - whole[i]!)) / norm(whole)).toBeLessThan(1e-5);
    }
  });
});
