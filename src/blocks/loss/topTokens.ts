import { aNumber, anInteger, checkArguments, numbers, orNull } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";

/**
 * The k greatest logits of each row and their ids, greatest first, the lower id first on ties; rows with
 * mask 0 are not read and give 0.
 *
 * @param logits [T, vocabulary]
 * @param mask [T]
 * @param k 1 to vocabulary
 * @param temperature logits are divided by it; then they are log-probs over the vocabulary. null: as given
 */
export function topTokens(
  logits: Float32Array,
  vocabulary: number,
  mask: ArrayLike<number>,
  k: number,
  temperature: number | null = null,
): { values: Float32Array; ids: Int32Array } {
  checkArguments(
    { logits, vocabulary, mask, k, temperature },
    {
      logits: numbers,
      vocabulary: anInteger(1),
      mask: numbers,
      k: anInteger(1),
      temperature: orNull(aNumber),
    },
  );
  checkArguments({ k }, { k: anInteger(1, vocabulary) });
  // Reading the mask may run a getter, so it is read before the logits are looked at.
  const read = Array.from(mask, (value) => value !== 0);
  const rows = read.length;
  if (!(logits instanceof Float32Array) || logits.length !== rows * vocabulary) {
    throw invalid("ERR_SHAPE", "logits", `a Float32Array of [${rows}, ${vocabulary}]`, logits);
  }
  const values = new Float32Array(rows * k);
  const ids = new Int32Array(rows * k);
  for (let t = 0; t < rows; ++t) {
    if (!read[t]) continue;
    const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
    const top = topOf(row, k);
    const normalizer = temperature === null ? 0 : logSum(row, temperature);
    for (const [j, id] of top.entries()) {
      ids[t * k + j] = id;
      values[t * k + j] = row[id]! / (temperature ?? 1) - normalizer;
    }
  }
  return { values, ids };
}

/** Ids of the k greatest values. */
function topOf(row: Float32Array, k: number): number[] {
  const top: number[] = [];
  for (let id = 0; id < row.length; ++id) {
    if (top.length === k && !(row[id]! > row[top[k - 1]!]!)) continue;
    let at = top.length;
    while (at > 0 && row[id]! > row[top[at - 1]!]!) --at;
    top.splice(at, 0, id);
    if (top.length > k) top.pop();
  }
  return top;
}

function logSum(row: Float32Array, temperature: number): number {
  const max = row.reduce((a, b) => Math.max(a, b));
  const sum = row.reduce((total, z) => total + Math.exp((z - max) / temperature), 0);
  return max / temperature + Math.log(sum);
}
