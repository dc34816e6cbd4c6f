import { afterAll, describe, expect, test } from "vitest";
import { groupAdvantages, groupNormalize, surrogate } from "../../src/blocks/index.js";
import {
  aggregationDenominator,
  rowColumns,
  surrogateMeasures,
} from "../../src/blocks/loss/surrogate.js";
import type { LossBatch, StepContext, Trajectory } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { groupOf, rolloutOf } from "./trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

describe("advantages relative to the group", () => {
  test.each([
    ["z-score with the sample std", [1, 0, 0, 0], { eps: 0 }, [1.5, -0.5, -0.5, -0.5]],
    ["centre alone", [1, 0, 0, 0], { scale: "none" }, [0.75, -0.25, -0.25, -0.25]],
    ["population std", [1, 0], { ddof: 0, eps: 0 }, [1, -1]],
    ["constant groups are exactly 0", [0.1, 0.1, 0.1], {}, [0, 0, 0]],
    [
      "a missing reward leaves the statistics",
      [1, null, 0, 0, 0],
      { eps: 0 },
      [1.5, 0, -0.5, -0.5, -0.5],
    ],
    ["one reward left", [null, 3, null], {}, [0, 0, 0]],
    ["one rollout", [3], {}, [0]],
    ["one rollout, kept as in verl", [3], { singleton: "value", eps: 0.5 }, [2]],
    ["one rollout, kept unscaled", [3], { singleton: "value", scale: "none" }, [3]],
    [
      "one reward left, kept as in verl",
      [null, 3, null],
      { singleton: "value", eps: 0 },
      [0, 3, 0],
    ],
    ["two rollouts are a group", [1, 0], { singleton: "value", ddof: 0, eps: 0 }, [1, -1]],
    [
      "median and median deviation",
      [0, 0.5, 2],
      { center: "median", scale: "median-deviation", eps: 0 },
      [-1, 0, 3],
    ],
    [
      "a median deviation of 0 leaves 1 / eps",
      [0, 0, 1],
      { center: "median", scale: "median-deviation", eps: 1e-3 },
      [0, 0, 1000],
    ],
    [
      "or the distance from the median",
      [0, 0, 1],
      { center: "median", scale: "median-deviation", zeroScale: "one" },
      [0, 0, 1],
    ],
    [
      "the mean of the others",
      [3, 1, 2, 6],
      { center: "leave-one-out", scale: "none" },
      [0, -8 / 3, -4 / 3, 4],
    ],
    [
      "a running mean",
      [1, 3],
      { center: "ema", ema: 4, emaBlend: 0.25, scale: "none" },
      [-1.5, 0.5],
    ],
  ] as const)("%s", async (_, rewards, options, expected) => {
    const groupOffsets = [0, rewards.length];
    const { advantage } = await groupAdvantages(engine, rewards, { groupOffsets, ...options });
    // Rewards and results are float32.
    advantage.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2e-7 * Math.abs(expected[i]!));
    });
  });

  test("the stage writes one column a row and leaves its input alone", async () => {
    const groups = [groupOf("a", [1, 0]), groupOf("b", [2, 2, 2])];
    const stage = groupNormalize({ eps: 0 });
    const out = await stage.run(groups, { engine } as unknown as StepContext);
    const column = (t: Trajectory) =>
      t.columns.advantage?.level === "row" ? t.columns.advantage.value : null;
    const expected = Math.fround(Math.SQRT1_2);
    expect(out[0]!.trajectories.map(column)).toEqual([expected, -expected]);
    expect(out[1]!.trajectories.map(column)).toEqual([0, 0, 0]);
    expect(groups[0]!.trajectories[0]!.columns).toEqual({});
  });

  test("the stage tells the kernel every option that applies", async () => {
    const groups = [groupOf("a", [0, 2]), groupOf("b", [0, 4]), groupOf("c", [7])];
    const options = {
      scope: "blend",
      scopeBlend: 0.5,
      ddof: 0,
      eps: 0,
      singleton: "value",
    } as const;
    const out = await groupNormalize(options).run(groups, { engine } as unknown as StepContext);
    const rewards = groups.flatMap((group) => group.trajectories.map((t) => t.reward));
    const want = await groupAdvantages(engine, rewards, { groupOffsets: [0, 2, 4, 5], ...options });
    const got = out.flatMap(({ trajectories }) => trajectories.map((t) => t.columns.advantage));
    expect(got).toEqual(want.advantage.map((value) => ({ level: "row", value })));
  });

  test("binary rewards under a scale that they make 0 are warned of", () => {
    const warn = (options: Parameters<typeof groupNormalize>[0]) =>
      groupNormalize(options).inspect!({ binaryRewards: true } as never);
    const median = { center: "median", scale: "median-deviation" } as const;
    const others = { center: "leave-one-out", scale: "leave-one-out-std" } as const;
    expect(warn({ ...median, eps: 1e-3 })).toEqual([expect.stringContaining("+-1/eps = 1000")]);
    expect(warn({ ...median, eps: 0 })).toEqual([expect.stringContaining("are 0 too")]);
    expect(warn(others)).toEqual([expect.stringContaining("only success or failure of a group")]);
    for (const options of [{}, { ...median, zeroScale: "one" }, { ...others, zeroScale: "one" }]) {
      expect(warn(options as typeof median)).toEqual([]);
    }
  });
});

/** Rows with an advantage each, and log-probs that moved since the rollout. */
function batchOf(lengths: readonly number[], first = 0, whole = lengths): LossBatch {
  const rows = lengths.map((length, i) =>
    rolloutOf(1, {
      length,
      columns: { advantage: { level: "row", value: (first + i) % 2 === 0 ? 1 : -0.5 } },
    }),
  );
  const rowOffsets = new Int32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) rowOffsets[i + 1] = rowOffsets[i]! + length;
  const tokens = rowOffsets.at(-1)!;
  const skipped = whole.slice(0, first).reduce((a, b) => a + b, 0);
  const value = (t: number, scale: number) => -1 + scale * Math.sin(skipped + t);
  return {
    engine,
    rows,
    groupOffsets: Int32Array.of(0, rows.length),
    rowOffsets,
    mask: new Uint8Array(tokens).fill(1),
    logProb: engine.tensor(Float32Array.from({ length: tokens }, (_, t) => value(t, 0.4))),
    entropy: null,
    oldLogProb: Float32Array.from({ length: tokens }, (_, t) => value(t, 0.1)),
    modelLogProb: { reference: Float32Array.from({ length: tokens }, (_, t) => value(t, 0.2)) },
    scale: {
      trainedTokens: whole.reduce((a, b) => a + b, 0),
      rows: whole.length,
      activeRows: whole.length,
      groups: 1,
    },
    step: 1,
  };
}

const lossOf = (batch: LossBatch, term = surrogate({ beta: 0.1 })) => {
  const { loss, dLogProb } = term.evaluate(batch);
  return { loss: (loss as Tensor).readSync()[0]!, d: [...(dLogProb as Tensor).readSync()] };
};

describe("the surrogate as a loss term", () => {
  test.each(["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "token-sum"] as const)(
    "%s: parts of an optimiser step add up to the whole",
    (aggregation) => {
      const term = surrogate({ beta: 0.1, aggregation });
      const lengths = [3, 1, 4, 2];
      const whole = lossOf(batchOf(lengths), term);
      const a = lossOf(batchOf(lengths.slice(0, 1), 0, lengths), term);
      const b = lossOf(batchOf(lengths.slice(1), 1, lengths), term);
      // Float64 sums in another order; the gradient is one product a token, the same either way.
      expect(Math.abs(a.loss + b.loss - whole.loss)).toBeLessThan(1e-12);
      expect([...a.d, ...b.d]).toEqual(whole.d);
    },
  );

  test("a schedule is read at the batch's step", () => {
    const term = surrogate({ beta: { schedule: "linear", from: 0, to: 0.2, steps: 2 } });
    const at = (step: number) => lossOf({ ...batchOf([3, 2]), step }, term).loss;
    expect(at(1)).toBe(lossOf(batchOf([3, 2]), surrogate()).loss);
    expect(at(2)).toBe(lossOf(batchOf([3, 2]), surrogate({ beta: 0.1 })).loss);
  });

  test("it needs the reference only with a KL term", () => {
    expect(surrogate().models).toEqual([]);
    expect(surrogate({ beta: 0.01 }).models).toEqual(["reference"]);
  });

  test("rows of one advantage stay rows, segments and weights are spread over actions", () => {
    const row = rolloutOf(1, { length: 2, columns: { advantage: { level: "row", value: 2 } } });
    const segment = rolloutOf(1, {
      length: 2,
      columns: {
        advantage: { level: "action", values: Float32Array.of(1, -1) },
        weight: { level: "row", value: 0.5 },
      },
    });
    expect(rowColumns({ rows: [row, row] })).toEqual({
      advantage: Float32Array.of(2, 2),
      weight: null,
    });
    expect(rowColumns({ rows: [row, segment] })).toEqual({
      tokenAdvantage: Float32Array.of(2, 2, 1, -1),
      weight: Float32Array.of(1, 1, 0.5, 0.5),
    });
  });

  test("an advantage a token has the loss of the same one a row", () => {
    const batch = batchOf([3, 2]);
    const rows = batch.rows.map((row) => {
      const { value } = row.columns.advantage as { value: number };
      const values = new Float32Array(row.actions.length).fill(value);
      return { ...row, columns: { advantage: { level: "action" as const, values } } };
    });
    expect(lossOf({ ...batch, rows })).toEqual(lossOf(batch));
  });

  test("divides by the whole step's counts, by nothing where nothing is trained", () => {
    const scale = { trainedTokens: 10, rows: 4, activeRows: 3, groups: 1 };
    expect(aggregationDenominator("token-mean", scale)).toBe(10);
    expect(aggregationDenominator("seq-mean-token-mean", scale)).toBe(3);
    expect(aggregationDenominator("token-sum", scale)).toBeUndefined();
    const empty = { ...scale, trainedTokens: 0, activeRows: 0 };
    expect(aggregationDenominator("token-mean", empty)).toBeUndefined();
  });

  test("an all-masked batch has loss 0, gradient 0 and metrics that are null", () => {
    const scale = { trainedTokens: 0, rows: 2, activeRows: 0, groups: 1 };
    const batch = { ...batchOf([2, 1]), mask: new Uint8Array(3), scale };
    const result = surrogate().evaluate(batch);
    expect((result.loss as Tensor).readSync()[0]).toBe(0);
    expect([...(result.dLogProb as Tensor).readSync()]).toEqual([0, 0, 0]);
    const sums = (result.metrics as Tensor).readSync() as Float64Array;
    for (const measure of Object.values(surrogateMeasures(sums, false))) {
      expect(measure).toMatchObject({ sum: 0, count: 0 });
    }
  });
});
