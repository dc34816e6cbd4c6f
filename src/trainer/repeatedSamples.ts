import { anInteger, aText, checkArguments, listOf, orNull } from "../engine/arguments.js";
import { checkInteger } from "../engine/checks.js";

/**
 * pass@k of one question: the probability that at least one of k answers is right, estimated without bias
 * from n >= k answers of which c are: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1).
 *
 * @param n answers, k to 2^24
 * @param c right ones, 0 to n
 * @param k >= 1
 * @throws FiresteelError ERR_RANGE
 */
export function passAtK(n: number, c: number, k: number): number {
  checkArguments({ n, k }, { n: anInteger(1), k: anInteger(1) });
  checkInteger("n", n, k, Number.MAX_SAFE_INTEGER);
  checkInteger("c", c, 0, n);
  if (n - c < k) return 1;
  // As a product: binomials of hundreds of answers are beyond a double.
  let none = 1;
  for (let i = n - c + 1; i <= n; ++i) none *= 1 - k / i;
  return 1 - none;
}

/**
 * The answer most of several gave. Of answers with equally many votes, the one that was given first.
 *
 * @param answers null: none, and no vote
 * @returns where the answer was first given; null where nobody gave one
 */
export function majorityVote(answers: readonly (string | null)[]): number | null {
  checkArguments({ answers }, { answers: listOf(orNull(aText)) });
  const votes = new Map<string, { count: number; first: number }>();
  for (const [i, answer] of answers.entries()) {
    if (answer === null) continue;
    const own = votes.get(answer) ?? { count: 0, first: i };
    votes.set(answer, { ...own, count: own.count + 1 });
  }
  let best: { count: number; first: number } | null = null;
  for (const own of votes.values()) if (own.count > (best?.count ?? 0)) best = own;
  return best?.first ?? null;
}
