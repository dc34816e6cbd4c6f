import { afterAll, describe, expect, test } from "vitest";
import {
  clippedValue,
  clippedValueLoss,
  distillation,
  type GroupLossOptions,
  groupLoss,
  klHinge,
  topTokens,
} from "../../src/blocks/index.js";
import type { Column, LossBatch, LossTerm, Measure } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { offsetsOf } from "../../src/engine/ragged.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { lossScale } from "../../src/trainer/minibatches.js";
import { rolloutOf } from "./trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

interface Row {
  logProb: number[];
  reference?: number[];
  reward?: number | null;
  mask?: number[];
  columns?: Record<string, Column>;
}

const actions = (...values: number[]): Column => ({
  level: "action",
  values: Float32Array.from(values),
});
const f32 = (rows: number[][]) => Float32Array.from(rows.flat());

/** Scored rows in groups of these sizes. */
function batchOf(rows: readonly Row[], groups: readonly number[]): LossBatch {
  const trajectories = rows.map(({ logProb, reward = 1, mask, columns = {} }) => {
    const made = rolloutOf(reward, { length: logProb.length, columns });
    return mask === undefined ? made : { ...made, mask: Uint8Array.from(mask) };
  });
  const reference = f32(rows.map((row) => row.reference ?? row.logProb.map(() => -1)));
  const frame = { rows: trajectories, groupOffsets: offsetsOf(groups) };
  return {
    engine,
    ...frame,
    rowOffsets: offsetsOf(rows.map(({ logProb }) => logProb.length)),
    mask: Uint8Array.from(trajectories.flatMap(({ mask }) => [...mask])),
    logProb: engine.tensor(f32(rows.map(({ logProb }) => logProb))),
    entropy: null,
    value: null,
    logits: null,
    oldLogProb: reference.map((value) => value + 0.1),
    modelLogProb: { reference },
    modelLogits: {},
    temperature: 1,
    maxCompletionLength: 8,
    scale: lossScale(frame),
    step: 1,
  };
}

type Score = "logProb" | "value" | "logits";

/** Loss, gradient and measures of a term, freed at once. */
function evaluate(term: LossTerm, batch: LossBatch) {
  return engine.scope(() => {
    const { loss, dLogProb, dValue, dLogits, metrics, decode } = term.evaluate(batch);
    const read = (tensor: unknown) => (tensor == null ? null : [...(tensor as Tensor).readSync()]);
    return {
      loss: read(loss)![0]!,
      logProb: read(dLogProb),
      value: read(dValue),
      logits: read(dLogits),
      measures: decode((metrics as Tensor).readSync() as Float64Array) as Record<
        string,
        Measure & { kind: "mean" }
      >,
    };
  });
}

/** d loss / d score by central differences of order h^4; steps are exact in float32. */
function slopes(term: LossTerm, batch: LossBatch, score: Score): number[] {
  const tensor = batch[score] as Tensor;
  const at = tensor.readSync() as Float32Array;
  return Array.from(at, (_, i) => {
    const loss = (step: number) => {
      const moved = at.map((value, j) => (j === i ? value + step : value));
      return evaluate(term, { ...batch, [score]: engine.tensor(moved, tensor.shape) }).loss;
    };
    const slope = (h: number) => (loss(h) - loss(-h)) / (2 * h);
    return (4 * slope(2 ** -6) - slope(2 ** -5)) / 3;
  });
}

function expectClose(got: readonly number[], want: readonly number[], tolerance: number): void {
  expect(got).toHaveLength(want.length);
  got.forEach((value, i) => {
    expect(Math.abs(value - want[i]!)).toBeLessThan(tolerance * (1 + Math.abs(want[i]!)));
  });
}

const wave = (length: number, seed: number) =>
  Array.from({ length }, (_, t) => Math.fround(-1 + 0.5 * Math.sin(3 * t + seed)));

const pairRows: Row[] = [
  { logProb: [-1, -0.5], reference: [-1.5, -1] },
  { logProb: [-2, -0.25, -9], reference: [-1, -0.75, 5], mask: [1, 1, 0] },
];

describe("pairs", () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

  test("dpo: sums of log-ratios, tied by beta; its metrics are TRL's", () => {
    const beta = 0.5;
    // 1 for the chosen row; -1 + 0.5 for the rejected one, whose last token is masked.
    const margin = beta * (1 - -0.5);
    const { loss, logProb, measures } = evaluate(
      groupLoss({ kind: "dpo", beta }),
      batchOf(pairRows, [2]),
    );
    expect(loss).toBeCloseTo(-Math.log(sigmoid(margin)), 12);
    const d = beta * sigmoid(-margin);
    expectClose(logProb!, [-d, -d, d, d, 0], 1e-7);
    expect(measures).toMatchObject({
      "rewards/chosen": { sum: 0.5, count: 1 },
      "rewards/rejected": { sum: -0.25, count: 1 },
      "rewards/margins": { sum: 0.75, count: 1 },
      "rewards/accuracies": { sum: 1, count: 1 },
    });
  });

  test("dpo with labels that may be wrong", () => {
    const options = { kind: "dpo", beta: 0.5, labelSmoothing: 0.25 } as const;
    const { loss } = evaluate(groupLoss(options), batchOf(pairRows, [2]));
    expect(loss).toBeCloseTo(-0.75 * Math.log(sigmoid(0.75)) - 0.25 * Math.log(sigmoid(-0.75)), 12);
  });

  test("ipo: log-ratios averaged over the length, or summed", () => {
    const loss = (options: Partial<GroupLossOptions>) =>
      evaluate(groupLoss({ kind: "ipo", beta: 0.25, ...options }), batchOf(pairRows, [2]));
    expect(loss({}).loss).toBeCloseTo((0.5 - -0.25 - 2) ** 2, 12);
    expect(loss({ pooling: "sum" }).loss).toBeCloseTo((1 - -0.5 - 2) ** 2, 12);
    const d = 2 * (0.75 - 2);
    expectClose(loss({}).logProb!, [d / 2, d / 2, -d / 2, -d / 2, 0], 1e-7);
  });

  test("of a step in parts are divided by all of them", () => {
    const batch = batchOf([...pairRows, ...pairRows], [2, 2]);
    const part = { ...batchOf(pairRows, [2]), scale: batch.scale };
    const term = groupLoss({ kind: "dpo" });
    expect(2 * evaluate(term, part).loss).toBeCloseTo(evaluate(term, batch).loss, 12);
    const bce = groupLoss({ kind: "real-bce" });
    expect(() => bce.evaluate(part)).toThrow(/Expected all groups of the optimiser step at once/);
  });

  test("need two rows each", () => {
    const odd = batchOf([...pairRows, pairRows[0]!], [3]);
    expect(() => groupLoss({ kind: "dpo" }).evaluate(odd)).toThrow(/2 rows, the chosen one first/);
  });
});

describe("the gradient of a group's loss agrees with central differences", () => {
  const rows: Row[] = [1, 0, 0, 1, 0, null].map((reward, i) => ({
    logProb: wave(2 + (i % 3), i),
    reference: wave(2 + (i % 3), i + 9),
    reward,
    columns: { advantage: { level: "row", value: reward ?? 0 } },
    ...(i === 2 && { mask: [1, 0, 1, 1] }),
  }));

  test.each<GroupLossOptions>([
    { kind: "real" },
    { kind: "real-bce" },
    { kind: "real-product" },
    { kind: "drpo", maxCompletionLength: 8 },
    { kind: "disco", tau: 2 },
    { kind: "reg-grpo", eps: 0.1 },
    { kind: "dpo", labelSmoothing: 0.1 },
    { kind: "ipo", pooling: "sum" },
  ])("$kind", (options) => {
    const term = groupLoss(options);
    const batch = batchOf(rows, term.coupling === "pair" ? [2, 2, 2] : [3, 3]);
    const { logProb } = evaluate(term, batch);
    expect(logProb!.some((d) => d !== 0)).toBe(true);
    // The loss is float64 of float32 log-probs; h^4 at 2^-6 leaves some 1e-7.
    expectClose(logProb!, slopes(term, batch, "logProb"), 1e-5);
  });

  test("rows without a reward take no part", () => {
    const term = groupLoss({ kind: "real" });
    const { logProb } = evaluate(term, batchOf(rows, [6]));
    const without = evaluate(term, batchOf(rows.slice(0, 5), [5]));
    expect(logProb!.slice(0, -4)).toEqual(without.logProb);
    expect(logProb!.slice(-4)).toEqual([0, 0, 0, 0]);
  });
});

describe("the trust region", () => {
  const rows: Row[] = [
    { logProb: [-1, -2], reference: [-0.5, -1.5] },
    { logProb: [-1, 7], reference: [-1, 0], mask: [1, 0] },
  ];

  test("does nothing within delta, and holds its coefficient constant beyond", () => {
    const batch = batchOf(rows, [2]);
    // Old minus new log-prob, of the trained tokens: 0.6, 0.6 and 0.1.
    const kl = 1.3 / 3;
    const inside = evaluate(klHinge({ delta: 1 }), batch);
    expect([inside.loss, ...inside.logProb!]).toEqual([0, -0, -0, -0, 0]);
    const { loss, logProb, measures } = evaluate(klHinge({ beta: 10, delta: 0.1 }), batch);
    const coefficient = 10 * (kl - 0.1);
    expect(loss).toBeCloseTo(coefficient * kl, 5);
    expectClose(logProb!, [-coefficient / 3, -coefficient / 3, -coefficient / 3, 0], 1e-6);
    expect(measures["trust_region/kl"]!.sum).toBeCloseTo(1.3, 6);
    expect(measures["trust_region/coefficient"]!.sum).toBeCloseTo(coefficient, 5);
  });

  test("with k3 has its gradient", () => {
    const { logProb } = evaluate(
      klHinge({ beta: 1, delta: 0, klEstimator: "k3" }),
      batchOf(rows, [2]),
    );
    const k3 = (x: number) => Math.exp(x) - 1 - x;
    const kl = (2 * k3(-0.6) + k3(-0.1)) / 3;
    const d = (x: number) => (kl * (Math.exp(x) - 1)) / 3;
    expectClose(logProb!, [d(-0.6), d(-0.6), d(-0.1), 0], 1e-6);
  });
});

describe("a group loss refuses", () => {
  test.each<[object, RegExp]>([
    [{}, /one of "real", .*"ipo" for groupLoss.kind but received undefined/],
    [{ kind: "dqo" }, /groupLoss.kind but received "dqo" \(did you mean "dpo"\?\)/],
    [{ kind: "dpo", tau: 1 }, /nothing \(kind is "dpo"\) for groupLoss.tau/],
    [{ kind: "real", beta: 1 }, /nothing \(kind is "real"\) for groupLoss.beta/],
    [{ kind: "drpo" }, /an integer >= 1 for groupLoss.maxCompletionLength/],
    [{ kind: "dpo", beta: 0 }, /a number > 0 for groupLoss.beta but received 0/],
    [{ kind: "ipo", bta: 1 }, /received "bta" \(did you mean "beta"\?\)/],
  ])("%j", (options, message) => {
    expect(() => groupLoss(options as GroupLossOptions)).toThrow(message);
  });
});

describe("the clipped value loss", () => {
  const values = [0.5, 1.5, 3, -1];
  const rows: Row[] = [
    { logProb: [-1, -1], columns: { value: actions(0.4, 1), return: actions(1, 2) } },
    {
      logProb: [-1, -1],
      mask: [1, 0],
      columns: { value: actions(1, Number.NaN), return: actions(0.5, Number.NaN) },
    },
  ];
  const batch: LossBatch = { ...batchOf(rows, [1, 1]), value: engine.tensor(values) };

  test("is the mean of its actions, with the gradient into their values", () => {
    const { loss, value, logProb, measures } = evaluate(clippedValue({ coefficient: 0.5 }), batch);
    const each = [
      clippedValueLoss(0.5, Math.fround(0.4), 1),
      clippedValueLoss(1.5, 1, 2),
      clippedValueLoss(3, 1, 0.5),
    ];
    const sum = each.reduce((total, own) => total + own.loss, 0);
    expect(loss).toBeCloseTo((0.5 * sum) / 3, 12);
    expectClose(value!, [...each.map(({ gradient }) => (0.5 * gradient) / 3), 0], 1e-6);
    expect(logProb).toBeNull();
    expect(measures.value_loss!.sum).toBeCloseTo(sum, 12);
    // At 1.5 the value has left the reach of the old one towards a return beyond it.
    expect(measures.value_clip_ratio).toEqual({ kind: "mean", sum: 1, count: 3 });
    expectClose(value!, slopes(clippedValue({ coefficient: 0.5 }), batch, "value"), 1e-5);
  });

  test("without clipping is half the squared error", () => {
    const { loss, value } = evaluate(clippedValue({ epsilon: null, coefficient: 1 }), batch);
    expect(loss).toBeCloseTo((0.25 + 0.25 + 6.25) / 6, 12);
    expectClose(value!, [-0.5 / 3, -0.5 / 3, 2.5 / 3, 0], 1e-6);
  });

  test("is 0 where nothing is trained", () => {
    const idle = rows.map((row) => ({ ...row, mask: [0, 0] }));
    const { loss, value } = evaluate(clippedValue(), {
      ...batchOf(idle, [1, 1]),
      value: engine.tensor(values),
    });
    expect([loss, ...value!]).toEqual([0, 0, 0, 0, 0]);
  });
});

describe("distillation", () => {
  const vocabulary = 5;
  const logitsOf = (seed: number) =>
    engine.tensor(
      Float32Array.from({ length: 3 * vocabulary }, (_, i) => 2 * Math.sin(1.7 * i + seed)),
      [3, vocabulary],
    );
  const batch: LossBatch = {
    ...batchOf([{ logProb: [-1, -1, -1], mask: [1, 0, 1] }], [1]),
    logits: logitsOf(0),
    modelLogits: { teacher: logitsOf(4) },
    temperature: 1.5,
  };
  const distributions = (tensor: Tensor) => {
    const all = tensor.readSync() as Float32Array;
    return [0, 2].map((t) => {
      const row = [...all.subarray(t * vocabulary, (t + 1) * vocabulary)];
      const weights = row.map((z) => Math.exp(z / 1.5));
      const total = weights.reduce((a, b) => a + b, 0);
      return weights.map((weight) => weight / total);
    });
  };
  const [student, teacher] = [batch.logits, batch.modelLogits.teacher].map((tensor) =>
    distributions(tensor as Tensor),
  );

  test("is the mean KL to the teacher at the run's temperature, over trained actions", () => {
    const kl = (q: number[], p: number[]) =>
      q.reduce((sum, x, v) => sum + x * Math.log(x / p[v]!), 0);
    const mean = (of: (i: number) => number) => (of(0) + of(1)) / 2;
    const forward = evaluate(distillation({ kind: "forward" }), batch);
    expect(forward.loss).toBeCloseTo(
      mean((i) => kl(teacher![i]!, student![i]!)),
      5,
    );
    expect(forward.measures["teacher/divergence"]).toMatchObject({ count: 2 });
    expect(forward.logits!.slice(vocabulary, 2 * vocabulary)).toEqual([0, 0, 0, 0, 0]);
    const reverse = evaluate(distillation({ kind: "reverse" }), batch).loss;
    expect(reverse).toBeCloseTo(
      mean((i) => kl(student![i]!, teacher![i]!)),
      5,
    );
  });

  test("on the teacher's top tokens leaves the others out", () => {
    const { loss } = evaluate(distillation({ topK: 2 }), batch);
    const truncated = [0, 1].map((i) => {
      const q = teacher![i]!;
      const top = q
        .map((_, v) => v)
        .sort((a, b) => q[b]! - q[a]!)
        .slice(0, 2);
      return top.reduce((sum, v) => sum + q[v]! * Math.log(q[v]! / student![i]![v]!), 0);
    });
    expect(loss).toBeCloseTo((truncated[0]! + truncated[1]!) / 2, 5);
    // More than there are is all of them.
    const all = evaluate(distillation({ topK: 99 }), batch).loss;
    expect(all).toBeCloseTo(evaluate(distillation(), batch).loss, 5);
  });

  test.each([
    { kind: "forward" },
    { kind: "reverse" },
    { kind: "mixed", weight: 0.3 },
    { kind: "jsd", weight: 0.5 },
    { kind: "forward", topK: 3, support: "truncated" },
    { kind: "reverse", topK: 2, support: "tail" },
    { kind: "mixed", topK: 2, support: "renormalized" },
    { kind: "reverse", topK: 2, support: "floor", logFloor: -10 },
  ] as const)("its gradient agrees with central differences: %j", (options) => {
    const term = distillation(options);
    const { logits } = evaluate(term, batch);
    expect(logits!.some((d) => d !== 0)).toBe(true);
    // Divergences are float32: 1e-7 over a step of 2^-6.
    expectClose(logits!, slopes(term, batch, "logits"), 1e-4);
  });

  test.each<[object, RegExp]>([
    [{ support: "tail" }, /nothing \(topK is null\) for distillation.support/],
    [{ weight: 0.5 }, /nothing \(kind is "forward"\) for distillation.weight/],
    [{ kind: "jsd", weight: 0 }, /a number >= 0.001 and <= 0.999 for distillation.weight/],
    [{ kind: "reverse", topK: 2 }, /kind "reverse" over support "truncated" is refused/],
    [{ kind: "reverse", nonNegative: true }, /nothing \(.*\) for distillation.nonNegative/],
    [{ topK: 0 }, /an integer >= 1, or null for distillation.topK but received 0/],
  ])("refuses %j", (options, message) => {
    expect(() => distillation(options as never)).toThrow(message);
  });

  test("top tokens: greatest first, the first of equal ones, nothing of masked rows", () => {
    const logits = Float32Array.of(1, 3, 3, 2, 9, 9, 9, 9);
    const { values, ids } = topTokens(logits, 4, [1, 0], 3);
    expect([...ids]).toEqual([1, 2, 3, 0, 0, 0]);
    expect([...values]).toEqual([3, 3, 2, 0, 0, 0]);
    const { values: logProbs } = topTokens(Float32Array.of(0, 2 * Math.log(3)), 2, [1], 2, 2);
    expectClose([...logProbs], [Math.log(0.75), Math.log(0.25)], 1e-6);
  });
});
