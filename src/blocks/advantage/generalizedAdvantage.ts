import { invalid } from "../../engine/checks.js";

/**
 * Generalised advantage estimation (Schulman et al. 2016, eq. 16): delta_t = r_t + gamma V_{t+1} - V_t,
 * A_t = delta_t + gamma lambda A_{t+1}, and returns A + V, not whitened. Actions with mask 0 are
 * observations: V and A of the next action pass over them unchanged (as in verl), and stand there.
 *
 * @param rewards one per action
 * @param values V, one per action
 * @param mask one per action
 * @throws FiresteelError ERR_SHAPE
 */
export function generalizedAdvantages(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  mask: ArrayLike<number>,
  { gamma = 1, lambda = 0.95 }: { gamma?: number; lambda?: number } = {},
): { advantages: number[]; returns: number[] } {
  for (const [name, { length }] of Object.entries({ values, mask })) {
    if (length === rewards.length) continue;
    throw invalid("ERR_SHAPE", name, `${rewards.length} values, as in rewards,`, length);
  }
  const advantages = new Array<number>(rewards.length).fill(0);
  let nextValue = 0;
  let nextAdvantage = 0;
  for (let t = rewards.length - 1; t >= 0; --t) {
    if (mask[t] !== 0) {
      const delta = rewards[t]! + gamma * nextValue - values[t]!;
      nextAdvantage = delta + gamma * lambda * nextAdvantage;
      nextValue = values[t]!;
    }
    advantages[t] = nextAdvantage;
  }
  return { advantages, returns: advantages.map((advantage, t) => advantage + values[t]!) };
}
