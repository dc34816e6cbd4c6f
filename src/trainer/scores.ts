import type { Policy, PolicyRow } from "../contract/policy.js";
import { tensorOf } from "../engine/device.js";

/** A row's log-probs and, where asked for, entropies and means, per action. */
export interface RowScores {
  readonly logProb: Float32Array;
  /** null also where the policy's entropies do not depend on its weights. */
  readonly entropy: Float32Array | null;
  /** [length * width]. */
  readonly mean: Float32Array | null;
}

/** Scores rows without a gradient, `microBatchSize` at a time. */
export async function scoreRows(
  policy: Policy,
  rows: readonly PolicyRow[],
  { temperature, microBatchSize }: { temperature: number; microBatchSize: number },
  entropy = false,
  mean = false,
): Promise<RowScores[]> {
  const out: RowScores[] = [];
  for (let begin = 0; begin < rows.length; begin += microBatchSize) {
    const part = rows.slice(begin, begin + microBatchSize);
    const scores = policy.score(part, { temperature, entropy, ...(mean && { mean }) });
    const tensors = [scores.logProb, scores.entropy, scores.mean ?? null];
    try {
      const [logProb, entropies, means] = await Promise.all(
        tensors.map(async (t) => t && ((await tensorOf(t, "scores").read()) as Float32Array)),
      );
      const width = means ? means.length / scores.rowOffsets.at(-1)! : 0;
      for (let r = 0; r < part.length; ++r) {
        const [begin, end] = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!];
        out.push({
          logProb: logProb!.slice(begin, end),
          entropy: entropies?.slice(begin, end) ?? null,
          mean: means?.slice(begin * width, end * width) ?? null,
        });
      }
    } finally {
      for (const tensor of tensors) tensor?.dispose();
    }
  }
  return out;
}
