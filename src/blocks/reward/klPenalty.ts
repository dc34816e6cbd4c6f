import type { Column, Trajectory } from "../../contract/data.js";
import type { RewardPlan } from "../../contract/system.js";
import {
  anEngine,
  anObject,
  checkArguments,
  listOf,
  numbers,
  oneOf,
  withFields,
} from "../../engine/arguments.js";
import { invalid } from "../../engine/checks.js";
import { aStage } from "../../engine/contractKinds.js";
import { engineOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { klEstimate } from "../../engine/kernels/kl.js";
import { concatenate, offsetsOf } from "../../engine/ragged.js";
import { choice, number } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { perAction, withColumn } from "../columns.js";

/** One rollout, scored by the policy and by its reference. */
export interface ScoredActions {
  readonly logProb: Float32Array;
  readonly refLogProb: Float32Array;
  readonly mask: Uint8Array;
}

const estimators = ["k1", "k2", "k3", "abs"] as const;

const someScores = withFields({ logProb: numbers, refLogProb: numbers, mask: numbers });

/**
 * Estimates of KL(policy || reference) from sampled actions (Schulman 2020): one per action, 0 where the
 * mask is 0, and their sum per row.
 */
export async function rowKl(
  engine: Engine,
  rows: readonly ScoredActions[],
  estimator: (typeof estimators)[number] = "k1",
): Promise<{ kl: Float32Array[]; sums: number[] }> {
  checkArguments(
    { engine, rows, estimator },
    { engine: anEngine, rows: listOf(someScores), estimator: oneOf(estimators) },
  );
  const rowOffsets = offsetsOf(rows.map(({ mask }) => mask.length));
  const inputs = {
    logProb: concatenate(
      Float32Array,
      rows.map(({ logProb }) => logProb),
    ),
    refLogProb: concatenate(
      Float32Array,
      rows.map(({ refLogProb }) => refLogProb),
    ),
    mask: concatenate(
      Uint8Array,
      rows.map(({ mask }) => mask),
    ),
    rowOffsets,
  };
  const result = klEstimate(engine, inputs, { estimator });
  try {
    const [kl, sums] = await Promise.all([result.kl.read(), result.rowKl.read()]);
    const own = (_: unknown, r: number) =>
      (kl as Float32Array).slice(rowOffsets[r]!, rowOffsets[r + 1]!);
    return { kl: rows.map(own), sums: [...sums] };
  } finally {
    result.kl.dispose();
    result.rowKl.dispose();
  }
}

const shape = {
  beta: number(0.05, { min: 0 }, "coefficient of the KL that is taken off"),
  klEstimator: choice("k1", estimators, "of the KL; in a reward k1 has the right gradient"),
  level: choice(
    "sequence",
    ["sequence", "token"],
    "sequence: the sum is taken off the reward; token: each action's own stands in tokenReward",
  ),
};

/** How much KL is taken off the reward, and where. */
export type KlPenaltyOptions = Partial<{
  /** Coefficient; >= 0, default 0.05. */
  beta: number;
  /** Default "k1", which has the right gradient in a reward. */
  klEstimator: (typeof estimators)[number];
  /**
   * "sequence" (default): the sum is taken off the reward; "token": each action's own stands in the column
   * `tokenReward`.
   */
  level: "sequence" | "token";
}>;

/**
 * What `plan` rewards, minus beta times the KL to the model "reference", the policy of the first step. At level
 * "sequence" (RLOO as in TRL) the sum over a rollout's trained actions is a reward named "kl"; at level
 * "token" (REINFORCE++, PPO) each action has its own, in the column "tokenReward" that returns add up, and
 * the rollout's reward stays. The KL per action is reported as `kl`.
 */
export function klPenalty(plan: RewardPlan, options: KlPenaltyOptions = {}): RewardPlan {
  checkArguments({ plan, options }, { plan: aStage, options: anObject });
  const { values, described } = parseOptions("klPenalty", shape, options);
  const { beta, klEstimator, level } = values;
  return {
    block: `${plan.block} + klPenalty`,
    options: [...plan.options, ...described],
    requires: plan.requires,
    models: ["reference"],
    inspect(run) {
      if (run.rewards.includes("kl")) {
        throw invalid("ERR_OPTION", "rewards", 'no reward named "kl"', "kl");
      }
      return plan.inspect?.(run) ?? [];
    },
    async run(trajectories, ctx) {
      const rewarded = await plan.run(trajectories, ctx);
      const [own, reference] = await Promise.all([
        ctx.score(rewarded),
        ctx.score(rewarded, { model: "reference" }),
      ]);
      const rows = rewarded.map(({ actions: { length }, mask }, r) => ({
        logProb: perAction("logProb", own[r]!, length),
        refLogProb: perAction("reference", reference[r]!, length),
        mask,
      }));
      const { kl, sums } = await rowKl(engineOf(ctx.engine), rows, klEstimator);
      const sum = sums.reduce((a, b) => a + b, 0);
      const count = rows.reduce((n, { mask }) => n + mask.reduce((m, bit) => m + bit, 0), 0);
      ctx.measure("kl", { kind: "mean", sum, count });
      return rewarded.map((t, r) =>
        level === "token"
          ? charged(
              t,
              kl[r]!.map((k) => -beta * k),
            )
          : reduced(t, -beta * sums[r]!),
      );
    },
  };
}

function charged(t: Trajectory, values: Float32Array): Trajectory {
  const column: Column = { level: "action", values };
  return withColumn(t, "tokenReward", column);
}

function reduced(t: Trajectory, kl: number): Trajectory {
  const reward = t.reward === null ? null : t.reward + kl;
  return { ...t, rewards: { ...t.rewards, kl }, reward };
}
