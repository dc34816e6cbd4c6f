import type { Policy, PolicyRow } from "../contract/policy.js";
import { tensorOf } from "../engine/device.js";

/** A row's log-probs and, where asked for, entropies, per action. */
export interface RowScores {
  readonly logProb: Float32Array;
  readonly entropy: Float32Array | null;
}

/** Scores rows without a gradient, `microBatchSize` at a time. */
export async function scoreRows(
  policy: Policy,
  rows: readonly PolicyRow[],
  { temperature, microBatchSize }: { temperature: number; microBatchSize: number },
  entropy = false,
): Promise<RowScores[]> {
  const out: RowScores[] = [];
  for (let begin = 0; begin < rows.length; begin += microBatchSize) {
    const part = rows.slice(begin, begin + microBatchSize);
    const scores = policy.score(part, { temperature, entropy });
    const tensors = [scores.logProb, ...(scores.entropy === null ? [] : [scores.entropy])];
    try {
      const [logProb, entropies] = await Promise.all(
        tensors.map(async (t) => (await tensorOf(t, "scores").read()) as Float32Array),
      );
      for (let r = 0; r < part.length; ++r) {
        const bounds = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!] as const;
        out.push({
          logProb: logProb!.slice(...bounds),
          entropy: entropies?.slice(...bounds) ?? null,
        });
      }
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }
  return out;
}
