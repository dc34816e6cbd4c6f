import type { Policy, PolicyRow } from "../contract/policy.js";
import { tensorOf } from "../engine/device.js";

const kinds = ["logProb", "entropy", "value"] as const;

/** A row's log-probs and, where asked for, entropies and values, per action. */
export interface RowScores {
  readonly logProb: Float32Array;
  readonly entropy: Float32Array | null;
  readonly value: Float32Array | null;
}

/** Scores rows without a gradient, `microBatchSize` at a time. */
export async function scoreRows(
  policy: Policy,
  rows: readonly PolicyRow[],
  { temperature, microBatchSize }: { temperature: number; microBatchSize: number },
  wanted: { entropy?: boolean; value?: boolean } = {},
): Promise<RowScores[]> {
  const out: RowScores[] = [];
  for (let begin = 0; begin < rows.length; begin += microBatchSize) {
    const part = rows.slice(begin, begin + microBatchSize);
    const scores = policy.score(part, { temperature, ...wanted });
    try {
      const [logProb, entropy, value] = await Promise.all(
        kinds.map(async (kind) => {
          const tensor = scores[kind] ?? null;
          return tensor && ((await tensorOf(tensor, kind).read()) as Float32Array);
        }),
      );
      for (let r = 0; r < part.length; ++r) {
        const bounds = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!] as const;
        out.push({
          logProb: logProb!.slice(...bounds),
          entropy: entropy?.slice(...bounds) ?? null,
          value: value?.slice(...bounds) ?? null,
        });
      }
    } finally {
      for (const kind of kinds) scores[kind]?.dispose();
    }
  }
  return out;
}
