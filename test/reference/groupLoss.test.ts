import { describe, expect, it } from "vitest";
import {
  finiteDifference,
  type GroupLossSetting,
  groupLoss,
  type RowScoreSetting,
  rowScore,
  rowScoreGradient,
} from "../../src/reference/index.js";

// The oracles themselves: values that need no program to know, and closed-form gradients against
// differences of the values.

const batch = {
  score: [0.3, -0.8, 0.1, 1.2, -0.4, 0.9],
  groupOffsets: [0, 4, 6],
  reward: [1, 0, 1, 0, 0, 1],
  lengths: [3, 9, 7, 2, 5, 4],
  advantage: [0.5, -1, 1.5, 0.2, -0.3, 0.8],
};
const pairs = { score: batch.score, groupOffsets: [0, 2, 4, 6] };

const settings: GroupLossSetting[] = [
  { kind: "real", tau: 0.7 },
  { kind: "real-bce", tau: 0.7 },
  { kind: "real-product", tau: 0.7 },
  { kind: "drpo", tau: 0.7, lambda: 0.4, maxCompletionLength: 10 },
  { kind: "disco", tau: 0.7 },
  { kind: "reg-grpo", eps: 0.1, ddof: 0 },
  { kind: "reg-grpo", eps: 0.1, ddof: 1 },
  { kind: "dpo", beta: 0.8, labelSmoothing: 0.2 },
  { kind: "ipo", beta: 0.8 },
];

describe("group-loss", () => {
  it.each(settings)("%o has the gradient that differences show", (setting) => {
    const rows = setting.kind === "dpo" || setting.kind === "ipo" ? pairs : batch;
    const want = finiteDifference(
      (score) => groupLoss({ ...rows, score }, setting).loss,
      rows.score,
    );
    const { dScore } = groupLoss(rows, setting);
    for (const [row, x] of want.entries()) expect(dScore[row]).toBeCloseTo(x, 9);
  });

  it("is the classification loss of odds that a child can add", () => {
    const rows = { score: [-Math.log(4), Math.log(2), Math.log(3)], groupOffsets: [0, 3] };
    const reward = [1, 0, 0];
    const ask = (kind: "real" | "real-product" | "real-bce") =>
      groupLoss({ ...rows, reward }, { kind, tau: 1 });
    expect(ask("real").loss).toBeCloseTo(Math.log(30), 14);
    expect(ask("real-product").loss).toBeCloseTo(Math.log(21), 14);
    expect(ask("real-bce").loss).toBeCloseTo(Math.log(5 * 3 * 4) / 3, 14);
  });

  it("predicts advantages that the scores are proportional to", () => {
    const rows = { score: [3, 1, 1, 3], groupOffsets: [0, 4], advantage: [1, -1, -1, 1] };
    const { loss, dScore } = groupLoss(rows, { kind: "reg-grpo", eps: 0 });
    expect([loss, ...dScore]).toEqual([0, 0, 0, 0, 0]);
  });
});

describe("row-score", () => {
  const tokens = {
    logProb: [-1, -0.2, -3, -0.7],
    baseLogProb: [-1.5, -0.4, -2, -0.7],
    mask: [1, 1, 0, 1],
    rowOffsets: [0, 3, 3, 4],
  };

  it("is a mean or a sum over trained tokens", () => {
    const ask = (pooling: "mean" | "sum", term: RowScoreSetting["term"] = "log-ratio") => [
      ...rowScore(tokens, { pooling, term }).score,
    ];
    expect(ask("sum").map((x) => x.toFixed(12))).toEqual([
      "0.700000000000",
      "0.000000000000",
      "0.000000000000",
    ]);
    expect(ask("mean")[0]).toBeCloseTo(0.35, 14);
    expect(ask("mean", "k1")[0]).toBeCloseTo(-0.35, 14);
    expect(ask("sum", "k3")[0]).toBeCloseTo(Math.exp(0.5) + Math.exp(0.2) - 2.7, 14);
  });

  it.each(["log-ratio", "k1", "k3"] as const)(
    "%s has the gradient that differences show",
    (term) => {
      const setting = { pooling: "mean", term } as const;
      const dScore = [0.7, 5, -1.1];
      const objective = (logProb: ArrayLike<number>) =>
        rowScore({ ...tokens, logProb }, setting).score.reduce(
          (sum, x, r) => sum + x * dScore[r]!,
          0,
        );
      const want = finiteDifference(objective, tokens.logProb);
      const got = rowScoreGradient(tokens, setting, dScore);
      for (const [t, x] of want.entries()) expect(got[t]).toBeCloseTo(x, 9);
    },
  );
});
