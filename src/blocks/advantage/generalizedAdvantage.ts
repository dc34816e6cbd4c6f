import type { Measurer } from "../../contract/metrics.js";
import type { Advantage } from "../../contract/system.js";
import { aNumber, checkArguments, numbers, optional, withFields } from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows, perAction, withColumn } from "../columns.js";
import { tokenRewards } from "./tokenRewards.js";

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
  options: { gamma?: number; lambda?: number } = {},
): { advantages: number[]; returns: number[] } {
  checkArguments(
    { rewards, values, mask, options },
    {
      rewards: numbers,
      values: numbers,
      mask: numbers,
      options: withFields({ gamma: optional(aNumber), lambda: optional(aNumber) }),
    },
  );
  const { gamma = 1, lambda = 0.95 } = options;
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

/**
 * 1 - Var(return - value) / Var(return) over the actions with mask 1: 1 where the values foretell the
 * returns, 0 where they are no better than a constant; null where there is nothing to foretell.
 */
export function explainedVariance(
  returns: ArrayLike<number>,
  values: ArrayLike<number>,
  mask: ArrayLike<number>,
): number | null {
  checkArguments({ returns, values, mask }, { returns: numbers, values: numbers, mask: numbers });
  const trained = Array.from({ length: mask.length }, (_, t) => t).filter((t) => mask[t] !== 0);
  const variance = (of: (t: number) => number) => {
    const center = trained.reduce((sum, t) => sum + of(t), 0) / trained.length;
    return trained.reduce((sum, t) => sum + (of(t) - center) ** 2, 0) / trained.length;
  };
  const all = variance((t) => returns[t]!);
  return all > 0 ? 1 - variance((t) => returns[t]! - values[t]!) / all : null;
}

const shape = {
  gamma: number(1, { min: 0, max: 1 }, "discount per action"),
  lambda: number(0.95, { min: 0, max: 1 }, "1: returns minus values, 0: one-step differences"),
};

/**
 * Advantages over what the policy's value head expects: one per action, not whitened (that is the credit
 * `whiten`). An action's reward is its own, from the column "tokenReward" where a reward plan wrote one, and
 * the rollout's at its last trained action; a rollout without a reward gets 0 there. Writes the columns
 * "advantage", "return" and "value" (the values that the advantages stand on), and reports
 * `explained_variance`.
 */
export function generalizedAdvantage(options: { gamma?: number; lambda?: number } = {}): Advantage {
  const { values: how, described } = parseOptions("generalizedAdvantage", shape, options);
  return {
    block: "generalizedAdvantage",
    options: described,
    inspect(run) {
      if (run.valueHead !== false) return [];
      throw invalid(
        "ERR_OPTION",
        "generalizedAdvantage",
        "a policy with a value head",
        "one without",
      );
    },
    async run(groups, ctx) {
      const rows = groups.flatMap((group) => group.trajectories);
      const values = (await ctx.values(rows)).map((column, r) =>
        perAction("value", column, rows[r]!.actions.length),
      );
      const found = rows.map((t, r) =>
        generalizedAdvantages(tokenRewards(t), values[r]!, t.mask, how),
      );
      measureExplained(
        found.flatMap(({ returns }) => returns),
        values.flatMap((row) => [...row]),
        rows.flatMap(({ mask }) => [...mask]),
        ctx.measure,
      );
      return mapRows(groups, (t, r) => {
        const columns = {
          advantage: found[r]!.advantages,
          return: found[r]!.returns,
          value: values[r]!,
        };
        return Object.entries(columns).reduce(
          (row, [name, column]) =>
            withColumn(row, name, { level: "action", values: Float32Array.from(column) }),
          t,
        );
      });
    },
  };
}

function measureExplained(
  returns: readonly number[],
  values: readonly number[],
  mask: readonly number[],
  measure: Measurer,
): void {
  const explained = explainedVariance(returns, values, mask);
  measure("explained_variance", {
    kind: "mean",
    sum: explained ?? 0,
    count: explained === null ? 0 : 1,
  });
}
