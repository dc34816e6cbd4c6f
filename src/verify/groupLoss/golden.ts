import type { Engine } from "../../engine/engine.js";
import {
  type GroupLossInputs,
  type GroupLossOptions,
  groupLoss,
  preferenceMetrics,
} from "../../engine/kernels/groupLoss.js";
import { klHinge } from "../../engine/kernels/klHinge.js";
import { rowScore, rowScoreBackward } from "../../engine/kernels/rowScore.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";

// Values worked out from the formulas by hand, without any of this project's code. Scores are mostly
// logarithms, so that the exponentials are whole numbers.

const ln = Math.log;

interface Golden {
  name: string;
  inputs: Omit<GroupLossInputs, "groupOffsets"> & { groupOffsets?: number[] };
  options: GroupLossOptions;
  loss: number;
  dScore: number[];
}

/** Two positives of which the shorter weighs 3/4, two negatives with exponentials 2 and 6. */
const long = {
  score: [-1, -3, ln(2), ln(6)],
  reward: [1, 1, 0, 0],
};

const goldens: Golden[] = [
  {
    name: "real, one against one on the policy",
    inputs: { score: [0, 0], reward: [1, 0] },
    options: { kind: "real" },
    loss: 2 * Math.LN2,
    dScore: [-1, 1],
  },
  {
    name: "real, 1 + 4 above, 1 + 2 + 3 below",
    inputs: { score: [-ln(4), ln(2), ln(3)], reward: [1, 0, 0] },
    options: { kind: "real", tau: 1 },
    loss: ln(30),
    dScore: [-4 / 5, 2 / 6, 3 / 6],
  },
  {
    name: "real divides by groups without negatives and by empty ones too",
    inputs: {
      score: [-ln(4), ln(2), ln(3), 5, 6],
      reward: [1, 0, 0, 1, 1],
      groupOffsets: [0, 3, 5, 5],
    },
    options: { kind: "real", tau: 1 },
    loss: ln(30) / 3,
    dScore: [-4 / 15, 2 / 18, 3 / 18, 0, 0],
  },
  {
    name: "real-product, 1 + 4 * (2 + 3)",
    inputs: { score: [-ln(4), ln(2), ln(3)], reward: [1, 0, 0] },
    options: { kind: "real-product", tau: 1 },
    loss: ln(21),
    dScore: [-20 / 21, 8 / 21, 12 / 21],
  },
  {
    name: "real-bce: the highest reward is the label, constant groups do not count",
    inputs: {
      score: [ln(3), ln(2), 0, 7, 8],
      reward: [0.7, 0.2, 0.5, 1, 1],
      groupOffsets: [0, 3, 5],
    },
    options: { kind: "real-bce", tau: 1 },
    loss: Math.LN2, // (ln(4 / 3) + ln(3) + ln(2)) / 3
    dScore: [-1 / 12, 2 / 9, 1 / 6, 0, 0],
  },
  {
    name: "drpo, lengths 2 and 4 of 10",
    inputs: { score: [-1, -1, -1, -1], reward: [1, 1, 0, 0], lengths: [2, 4, 5, 6] },
    options: { kind: "drpo", maxCompletionLength: 10 },
    loss: 0,
    dScore: [-0.88079707797788, -0.11920292202212, 0.5, 0.5],
  },
  {
    name: "drpo, weights 3/4 and 1/4",
    inputs: { ...long, lengths: [10, 60, 1, 1] },
    options: { kind: "drpo", maxCompletionLength: 100, lambda: 0.5 / ln(3), tau: 1 },
    loss: 1.5 + ln(4),
    dScore: [-0.75, -0.25, 0.25, 0.75],
  },
  {
    name: "disco, weights 1/2, a reward of 1/2 left out, a group without negatives counted",
    inputs: {
      score: [-1, 9, -3, ln(2), ln(6), 4],
      reward: [1, 0.5, 1, 0, 0, 1],
      groupOffsets: [0, 5, 6],
    },
    options: { kind: "disco", tau: 1 },
    loss: 1 + ln(2),
    dScore: [-0.25, 0, -0.25, 0.125, 0.375, 0],
  },
  {
    name: "reg-grpo, targets met",
    inputs: { score: [0.25, -0.25], advantage: [1, -1] },
    options: { kind: "reg-grpo", eps: 0 },
    loss: 0,
    dScore: [0, 0],
  },
  {
    name: "reg-grpo, equal scores predict 0",
    inputs: { score: [0, 0], advantage: [1, -1] },
    options: { kind: "reg-grpo", eps: 0.5 },
    loss: 1,
    dScore: [-2, 2],
  },
  {
    name: "reg-grpo, equal scores without eps have gradient 0",
    inputs: { score: [0.1, 0.1, 0.1], advantage: [1, -1, 0] },
    options: { kind: "reg-grpo", eps: 0 },
    loss: 2 / 3,
    dScore: [0, 0, 0],
  },
  {
    // p = c / (2 std); L = std^2 / (std + eps)^2, whose derivative in std is 1 / (4 std).
    name: "reg-grpo, eps as large as the std",
    inputs: { score: [0, 2, 4], advantage: [0, 0, 0] },
    options: { kind: "reg-grpo", eps: Math.sqrt(8 / 3) },
    loss: 0.25,
    dScore: [-1 / 16, 0, 1 / 16],
  },
  {
    name: "reg-grpo, the same with the sample std of 2",
    inputs: { score: [0, 2, 4], advantage: [0, 0, 0] },
    options: { kind: "reg-grpo", eps: 2, ddof: 1 },
    loss: 1 / 6,
    dScore: [-1 / 24, 0, 1 / 24],
  },
  {
    name: "reg-grpo, skipConstant leaves the mean over groups",
    inputs: {
      score: [0, 2, 0, 0],
      advantage: [0.5, 0.5, 1, -1],
      groupOffsets: [0, 2, 4],
    },
    options: { kind: "reg-grpo", eps: 0.5, skipConstant: true },
    loss: 1,
    dScore: [0, 0, -2, 2],
  },
  {
    name: "dpo, policy and reference equal",
    inputs: { score: [0, 0] },
    options: { kind: "dpo" },
    loss: Math.LN2,
    dScore: [-0.05, 0.05],
  },
  {
    name: "dpo, odds of 3",
    inputs: { score: [ln(6), ln(2)] },
    options: { kind: "dpo", beta: 1 },
    loss: ln(4 / 3),
    dScore: [-0.25, 0.25],
  },
  {
    name: "dpo, odds of 3, one preference in five the wrong way round",
    inputs: { score: [ln(6), ln(2)] },
    options: { kind: "dpo", beta: 1, labelSmoothing: 0.2 },
    loss: 0.8 * ln(4 / 3) + 0.2 * ln(4),
    dScore: [-0.05, 0.05],
  },
  {
    name: "dpo, a pair with an invalid row is no pair",
    inputs: { score: [ln(6), ln(2), 5, 1], valid: [1, 1, 1, 0], groupOffsets: [0, 2, 4] },
    options: { kind: "dpo", beta: 1 },
    loss: ln(4 / 3),
    dScore: [-0.25, 0.25, 0, 0],
  },
  {
    name: "ipo, a margin of 3 where 1 is wanted",
    inputs: { score: [2, -1] },
    options: { kind: "ipo", beta: 0.5 },
    loss: 4,
    dScore: [4, -4],
  },
  {
    name: "ipo, no margin where 5 is wanted, in one of two pairs",
    inputs: { score: [0, 0, 5, 0], groupOffsets: [0, 2, 4] },
    options: { kind: "ipo" },
    loss: 12.5,
    dScore: [-5, 5, 0, 0],
  },
];

function byHand(golden: Golden): Check {
  const { name, inputs, options, loss, dScore } = golden;
  return {
    family: "group-loss",
    name: `by hand: ${name}`,
    run(engine) {
      const groupOffsets = inputs.groupOffsets ?? [0, dScore.length];
      const got = groupLoss(engine, { ...inputs, groupOffsets }, options);
      return firstOf(
        close("loss", values(got.loss), [loss], 1e-13),
        close("dScore", values(got.dScore), dScore, 1e-13),
      );
    },
  };
}

/** One row of three tokens, the last one masked; log-ratios of ln 2 and -ln 2 where they count. */
function oneRow(
  engine: Engine,
  options: Parameters<typeof rowScore>[2],
  want: { score: number; dLogProb: number[] },
): string | null {
  const logProb = [-1, -2, -9];
  const baseLogProb = [-1 - ln(2), -2 + ln(2), 0];
  const rows = { mask: [1, 1, 0], rowOffsets: [0, 3] };
  const { score, tokenWeight } = rowScore(engine, { logProb, baseLogProb, ...rows }, options);
  const { term } = options;
  const policies = term === "k3" ? { logProb, baseLogProb } : {};
  const above = { dScore: [2], tokenWeight, ...rows, ...policies };
  const dLogProb = rowScoreBackward(engine, above, { term });
  return firstOf(
    close("score", values(score), [want.score], 2e-7), // inputs rounded to floats
    close("dLogProb", values(dLogProb), want.dLogProb, 1e-6),
  );
}

const rowGoldens: Check[] = (
  [
    ["k1, sum", { pooling: "sum", term: "k1" }, { score: 0, dLogProb: [-2, -2, 0] }],
    ["log-ratio, mean", { pooling: "mean" }, { score: 0, dLogProb: [1, 1, 0] }],
    // 2 - 1 - ln 2 and 1/2 - 1 + ln 2
    ["k3, sum", { pooling: "sum", term: "k3" }, { score: 0.5, dLogProb: [2, -1, 0] }],
    ["k3, mean", { pooling: "mean", term: "k3" }, { score: 0.25, dLogProb: [1, -0.5, 0] }],
  ] as const
).map(([name, options, want]) => ({
  family: "row-score",
  name: `by hand: ${name}`,
  run: (engine) => oneRow(engine, options, { ...want, dLogProb: [...want.dLogProb] }),
}));

export function groupLossGoldenChecks(): Check[] {
  return [
    ...rowGoldens,
    {
      family: "row-score",
      name: "by hand: mean log-ratio of two trained tokens, 1/2 each",
      run(engine) {
        const inputs = { logProb: [-1, -2, -9], baseLogProb: [-1.5, -2.5, 0], mask: [1, 1, 0] };
        const got = rowScore(engine, { ...inputs, rowOffsets: [0, 3] }, { pooling: "mean" });
        return firstOf(
          close("score", values(got.score), [0.5], 0),
          close("trainedTokens", values(got.trainedTokens), [2], 0),
        );
      },
    },
    ...goldens.map(byHand),
    {
      family: "group-loss",
      name: "by hand: rewards of preferences as TRL reports them",
      run(engine) {
        const inputs = { score: [3, 1, -1, 1, 9, 9], groupOffsets: [0, 2, 4, 6] };
        const valid = [1, 1, 1, 1, 0, 1];
        const { metrics } = groupLoss(engine, { ...inputs, valid }, { kind: "dpo", beta: 0.5 });
        const got = preferenceMetrics(values(metrics), 0.5);
        const none = preferenceMetrics(values(metrics).fill(0), 0.5);
        return firstOf(
          close("chosen", [got["rewards/chosen"]!], [0.5], 0),
          close("rejected", [got["rewards/rejected"]!], [0.5], 0),
          close("accuracies", [got["rewards/accuracies"]!], [0.5], 0),
          close("margins", [got["rewards/margins"]!], [0], 0),
          Object.values(none).every((x) => x === null) ? null : "a metric of no pairs",
        );
      },
    },
    {
      family: "group-loss",
      name: "by hand: the hinge of DRPO's KL",
      run() {
        const at = (kl: number, beta?: number, delta?: number) =>
          Object.values(klHinge(kl, { beta, delta }));
        return firstOf(
          close("kl 0", at(0), [0, 0], 0),
          close("kl 1.1e-3", at(1.1e-3), [1, 1.1e-3], 1e-12),
          close("kl -1", at(-1), [0, 0], 0),
          close("kl 3, beta 2, delta 1", at(3, 2, 1), [4, 12], 0),
        );
      },
    },
  ];
}
