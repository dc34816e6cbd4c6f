import type { Policy, PolicyRow } from "../contract/policy.js";
import { tensorOf } from "../engine/device.js";
import { checkAbort, type Run } from "./run.js";
import type { TrainSettings } from "./settings.js";

const kinds = ["logProb", "entropy", "value", "mean"] as const;

/** A row's log-probs and, where asked for, entropies, values and means, per action. */
export interface RowScores {
  readonly logProb: Float32Array;
  /** null also where the policy's entropies do not depend on its weights. */
  readonly entropy: Float32Array | null;
  readonly value: Float32Array | null;
  /** [length * width]. */
  readonly mean: Float32Array | null;
}

/**
 * Scores rows without a gradient, `microBatchSize` at a time.
 *
 * @throws FiresteelError ERR_ABORTED where the run is stopped at once, and as the policy's `score`
 */
export async function scoreRows(
  run: Pick<Run, "abort"> & { settings: Pick<TrainSettings, "temperature" | "microBatchSize"> },
  policy: Policy,
  rows: readonly PolicyRow[],
  wanted: { entropy?: boolean; value?: boolean; mean?: boolean } = {},
): Promise<RowScores[]> {
  const { temperature, microBatchSize } = run.settings;
  const out: RowScores[] = [];
  for (let begin = 0; begin < rows.length; begin += microBatchSize) {
    checkAbort(run);
    const part = rows.slice(begin, begin + microBatchSize);
    const scores = policy.score(part, { temperature, ...wanted });
    try {
      const [logProb, entropy, value, mean] = await Promise.all(
        kinds.map(async (kind) => {
          const tensor = scores[kind] ?? null;
          return tensor && ((await tensorOf(tensor, kind).read()) as Float32Array);
        }),
      );
      const width = mean ? mean.length / (scores.rowOffsets.at(-1)! || 1) : 0;
      for (let r = 0; r < part.length; ++r) {
        const [first, end] = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!];
        out.push({
          logProb: logProb!.slice(first, end),
          entropy: entropy?.slice(first, end) ?? null,
          value: value?.slice(first, end) ?? null,
          mean: mean?.slice(first * width, end * width) ?? null,
        });
      }
    } finally {
      for (const kind of kinds) scores[kind]?.dispose();
    }
  }
  return out;
}
