import { afterAll, describe, expect, test } from "vitest";
import { type SurrogateOptions, surrogate } from "../../src/blocks/index.js";
import { aggregationDenominator } from "../../src/blocks/loss/surrogate.js";
import type { Column, LossBatch, Measure, Trajectory } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import type { FiresteelError } from "../../src/engine/error.js";
import {
  type Aggregation,
  aggregations,
  groupedAggregations,
} from "../../src/engine/kernels/surrogateTable.js";
import { offsetsOf } from "../../src/engine/ragged.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { lossScale } from "../../src/trainer/minibatches.js";
import { rolloutOf } from "./trajectories.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

interface Row {
  length: number;
  /** Default 1 and -0.5 in turn. */
  advantage?: Column;
  columns?: Record<string, Column>;
  masked?: boolean;
}

const row = (value: number): Column => ({ level: "row", value });
const actions = (...values: number[]): Column => ({
  level: "action",
  values: Float32Array.from(values),
});

function trajectoryOf({ length, advantage, columns = {}, masked }: Row, i: number): Trajectory {
  const made = rolloutOf(1, {
    length,
    columns: { advantage: advantage ?? row(i % 2 === 0 ? 1 : -0.5), ...columns },
  });
  return masked ? { ...made, mask: new Uint8Array(length) } : made;
}

/** Scored rows in groups of two; `begin` and `end` cut a part out of the whole, with its scale. */
function batchOf(rows: readonly Row[], begin = 0, end = rows.length): LossBatch {
  const all = rows.map(trajectoryOf);
  const bounds = offsetsOf(rows.map(({ length }) => length));
  const groups = (count: number) =>
    offsetsOf(Array.from({ length: Math.ceil(count / 2) }, (_, g) => Math.min(2, count - 2 * g)));
  const [first, last] = [bounds[begin]!, bounds[end]!];
  const wave = (scale: number) =>
    Float32Array.from({ length: last - first }, (_, t) => -1 + scale * Math.sin(first + t));
  const own = all.slice(begin, end);
  return {
    engine,
    rows: own,
    groupOffsets: groups(own.length),
    rowOffsets: bounds.slice(begin, end + 1).map((bound) => bound - first),
    mask: Uint8Array.from(own.flatMap(({ mask }) => [...mask])),
    logProb: engine.tensor(wave(0.4)),
    entropy: engine.tensor(wave(0.5).map(Math.abs)),
    value: null,
    logits: null,
    oldLogProb: wave(0.1),
    modelLogProb: { reference: wave(0.2) },
    modelLogits: {},
    temperature: 1,
    scale: lossScale({ rows: all, groupOffsets: groups(all.length) }),
    maxCompletionLength: 8,
    step: 1,
  };
}

const lengths = (...all: number[]): Row[] => all.map((length) => ({ length }));

function evaluate(batch: LossBatch, options: SurrogateOptions = {}) {
  const { loss, dLogProb, dEntropy, metrics, decode } = surrogate(options).evaluate(batch);
  const read = (tensor: unknown) => [...(tensor as Tensor).readSync()];
  return {
    loss: read(loss)[0]!,
    d: read(dLogProb),
    dEntropy: dEntropy === null ? null : read(dEntropy),
    measures: decode((metrics as Tensor).readSync() as Float64Array),
  };
}

/** The ERR_OPTION that a call throws. */
function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    expect((error as FiresteelError).code).toBe("ERR_OPTION");
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}

const sampled = (length: number, shift: number): Row => ({
  length,
  columns: { samplerLogProb: actions(...Array(length).fill(-1 + shift)) },
});

test("without a horizon of its own, row sums are divided by the run's maxCompletionLength", () => {
  const rows = lengths(3, 1);
  const sums = { aggregation: "seq-mean-token-sum-norm" } as const;
  expect(evaluate(batchOf(rows), sums)).toEqual(evaluate(batchOf(rows), { ...sums, horizon: 8 }));
  const facts = { numGenerations: 2, rewards: [], binaryRewards: true };
  const inspect = (options: SurrogateOptions, maxCompletionLength: number) =>
    surrogate(options).inspect!({ ...facts, maxCompletionLength });
  expect(inspect(sums, 8)).toEqual([]);
  expect(inspect({ ...sums, horizon: 4 }, 0)).toEqual([]);
  expect(refusal(() => inspect(sums, 0))).toMatch(
    /a number \(the rollouts' maxCompletionLength is not known\) for surrogate\.horizon/,
  );
});

describe("parts of an optimiser step add up to the whole", () => {
  test.each(Object.keys(aggregations) as Aggregation[])("%s", (aggregation) => {
    const options: SurrogateOptions = {
      ...{ beta: 0.1, aggregation, entropyCoefficient: 0.1, entropyAggregation: "token-mean" },
      ...(aggregation === "seq-mean-token-sum-norm" && { horizon: 8 }),
    };
    const rows: Row[] = [
      { length: 3 },
      { length: 1 },
      { length: 2, masked: true },
      { length: 3, masked: true },
      { length: 4 },
      { length: 2 },
    ].map((own, i) => ({ ...own, columns: { groupWeight: row(1 + Math.floor(i / 2)) } }));
    const whole = evaluate(batchOf(rows), options);
    const parts = [batchOf(rows, 0, 2), batchOf(rows, 2, 6)].map((part) => evaluate(part, options));
    // Float64 sums in another order; the gradient is one product a token, the same either way.
    expect(Math.abs(parts[0]!.loss + parts[1]!.loss - whole.loss)).toBeLessThan(1e-12);
    expect(parts.flatMap(({ d }) => d)).toEqual(whole.d);
    expect(parts.flatMap(({ dEntropy }) => dEntropy)).toEqual(whole.dEntropy);
  });

  test("empty rows count in every part's divisor where they are to count", () => {
    const rows: Row[] = [{ length: 2 }, { length: 3, masked: true }];
    const loss = (emptyRows: "skip" | "count") =>
      evaluate(batchOf(rows), { aggregation: "seq-mean-token-mean", emptyRows }).loss;
    expect(loss("count")).toBeCloseTo(loss("skip") / 2, 12);
  });

  test("a term over groups keeps them whole", () => {
    for (const aggregation of groupedAggregations) {
      expect(surrogate({ aggregation }).coupling).toBe("group");
    }
    expect(surrogate().coupling).toBe("token");
  });

  test("divides by the whole step's counts, by nothing where nothing is trained", () => {
    const scale = { trainedTokens: 10, rows: 4, activeRows: 3, groups: 3, activeGroups: 2 };
    expect(aggregationDenominator("token-mean", scale)).toBe(10);
    expect(aggregationDenominator("seq-mean-token-mean", scale)).toBe(3);
    expect(aggregationDenominator("seq-mean-token-sum", scale, "count")).toBe(4);
    expect(aggregationDenominator("balanced", scale)).toBe(2);
    expect(aggregationDenominator("token-sum", scale)).toBeUndefined();
    const empty = { ...scale, trainedTokens: 0, activeRows: 0, activeGroups: 0 };
    expect(aggregationDenominator("token-mean", empty)).toBeUndefined();
  });
});

describe("options", () => {
  test("a schedule is read at the batch's step", () => {
    const at = (step: number, options: SurrogateOptions) =>
      evaluate({ ...batchOf(lengths(3, 2)), step }, options).loss;
    const moving = { schedule: "linear", from: 0, to: 0.2, steps: 2 } as const;
    expect(at(1, { beta: moving })).toBe(at(1, {}));
    expect(at(2, { beta: moving })).toBe(at(1, { beta: 0.1 }));
    expect(at(2, { entropyCoefficient: moving })).toBe(at(1, { entropyCoefficient: 0.1 }));
    expect(at(1, { epsilonHigh: moving })).toBe(at(1, { epsilonHigh: 0 }));
    expect(at(2, { form: "sapo", tauPositive: { ...moving, from: 1, to: 3 } })).toBe(
      at(1, { form: "sapo", tauPositive: 2 }),
    );
  });

  test("it needs the reference only with a KL term, the entropy only with a bonus", () => {
    expect(surrogate().models).toEqual([]);
    expect(surrogate({ beta: 0.01 }).models).toEqual(["reference"]);
    expect(surrogate().entropy).toBe(false);
    expect(surrogate({ entropyCoefficient: 0.01 }).entropy).toBe(true);
  });

  test("epsilon is the form's own where none is given", () => {
    const value = (options: SurrogateOptions, name: string) =>
      surrogate(options).options.find((option) => option.name === name)!.value;
    expect(value({}, "epsilon")).toBe(0.2);
    expect(value({ form: "gmpo", level: "sequence" }, "epsilon")).toBe(0.4);
    expect(value({ form: "sapo" }, "epsilon")).toBeNull();
  });

  test("defaults follow the conventions, what is given holds", () => {
    const values = (options: SurrogateOptions) =>
      Object.fromEntries(surrogate(options).options.map(({ name, value }) => [name, value]));
    const rows = { aggregation: "seq-mean-token-mean" } as const;
    const trl = { emptyRows: "count", dualClip: null, logRatioClamp: null, mismatchHigh: null };
    expect(values(rows)).toMatchObject({ conventions: "trl", ...trl });
    expect(values({ form: "cispo" })).toMatchObject({ clipRange: [0, 5], epsilon: null });
    expect(values({ form: "cispo", epsilonHigh: 4 })).toMatchObject({ clipRange: null });
    const verl = { ...rows, conventions: "verl", beta: 1 } as const;
    expect(values({ ...verl, mismatch: "token-truncate" })).toMatchObject({
      emptyRows: "skip",
      dualClip: 3,
      logRatioClamp: [-20, 20],
      klClamp: { difference: 20, value: 10 },
      mismatchHigh: 2,
    });
    expect(values({ ...verl, dualClip: 5 })).toMatchObject({ dualClip: 5 });
    expect(values({ conventions: "verl", form: "cispo" })).toMatchObject({
      clipRange: null,
      epsilon: 0.2,
      dualClip: null,
    });
    expect(values({ conventions: "verl", form: "dppo-tv" }).ratioCap).toBe(3);
    const corrected = { conventions: "openrlhf", mismatch: "geometric-mask" } as const;
    expect(values(corrected)).toMatchObject({ mismatchLow: 0.5, mismatchHigh: 5 });
    expect(() => values({ conventions: "slime" as "trl" })).toThrow(/for conventions but received/);
  });

  test.each<[string, SurrogateOptions, RegExp]>([
    [
      "a level that the form does not take",
      { form: "dppo-tv", level: "sequence" },
      /level: "token" \(form "dppo-tv": its limits .*\) for surrogate\.level but received "sequence"/,
    ],
    ["a form's option beside another form", { tauPositive: 2 }, /nothing \(form is "clip"\)/],
    [
      "epsilon beside limits",
      { clipRange: [0, 5], epsilon: 0.1 },
      /nothing \(clipRange is given\)/,
    ],
    ["epsilon beside columns", { limits: "columns", epsilon: 1 }, /limits is "columns"/],
    ["limits without any", { form: "sapo", limits: "columns" }, /nothing \(form is "sapo"\)/],
    ["a KL's estimator without a KL", { klClamp: { value: 1 } }, /nothing \(beta is 0\)/],
    [
      "a KL times no ratio",
      { form: "gmpo", level: "sequence", beta: 1, klRatio: true },
      /klRatio: false/,
    ],
    ["an entropy's aggregation without a bonus", { entropyAggregation: "token-mean" }, /is 0\)/],
    ["weights without a mismatch", { mismatchHigh: 3 }, /nothing \(mismatch is "none"\)/],
    [
      "weights the wrong way round",
      { mismatch: "token-mask", mismatchLow: 4 },
      /a number >= mismatchLow for surrogate\.mismatchHigh but received 3/,
    ],
    ["gamma without shaped rows", { shapeGamma: 0.2 }, /nothing \(shaped is false\)/],
    ["limits the wrong way round", { clipRange: [2, 1] }, /\[low, high\] with 0 <= low <= high/],
    ["a clamp that leaves 0 out", { logRatioClamp: [1, 2] }, /low <= 0 <= high/],
    ["a clamp without a ratio", { level: "none", logRatioClamp: [-1, 1] }, /level is "none"/],
    ["a count of rows for tokens", { emptyRows: "count" }, /aggregation is "token-mean"/],
    ["an unknown clamp", { beta: 1, klClamp: { differenc: 1 } as never }, /surrogate\.klClamp/],
  ])("%s is refused", (_, options, message) => {
    expect(refusal(() => surrogate(options))).toMatch(message);
  });
});

describe("columns", () => {
  const same = (rows: Row[], others: Row[], options: SurrogateOptions = {}) => {
    const [a, b] = [evaluate(batchOf(rows), options), evaluate(batchOf(others), options)];
    expect(a.d).toEqual(b.d);
    expect(a.loss).toBe(b.loss);
  };

  test("an advantage an action has the loss of the same one a row", () => {
    same(lengths(3, 2), [
      { length: 3, advantage: actions(1, 1, 1) },
      { length: 2, advantage: actions(-0.5, -0.5) },
    ]);
  });

  test("segments of advantages are spread over actions, or keep their own ratio", () => {
    const advantage: Column = {
      level: "segment",
      values: Float32Array.of(2, -1),
      bounds: Int32Array.of(0, 1, 3),
    };
    same([{ length: 3, advantage }], [{ length: 3, advantage: actions(2, -1, -1) }]);
    // A segment of one action has that action's ratio; a row without segments is one.
    const wide = { level: "segment", form: "unclipped" } as const;
    const [first] = evaluate(batchOf([{ length: 3, advantage }]), wide).d;
    expect(first).toBe(evaluate(batchOf([{ length: 3, advantage }]), { form: "unclipped" }).d[0]);
    const whole = evaluate(batchOf(lengths(3)), { level: "sequence", form: "unclipped" }).d;
    expect(evaluate(batchOf(lengths(3)), wide).d).toEqual(whole);
    const byAction = batchOf([{ length: 2, advantage: actions(1, 2) }]);
    expect(refusal(() => evaluate(byAction, wide))).toMatch(/by row or segment.*by action/);
  });

  test("weights are spread over actions; a row without any has 1", () => {
    const rows = [{ length: 2, columns: { weight: row(0.5) } }, { length: 2 }];
    const [plain, weighted] = [evaluate(batchOf(lengths(2, 2))), evaluate(batchOf(rows))];
    expect(weighted.d).toEqual(plain.d.map((d, t) => (t < 2 ? d / 2 : d)));
  });

  test("limits come from the rows where the options say so", () => {
    const limited = (low: Column, high: Column): Row => ({
      length: 3,
      columns: { clipLow: low, clipHigh: high },
    });
    const options = { limits: "columns" } as const;
    expect(surrogate(options).columns).toEqual(["advantage", "clipLow", "clipHigh"]);
    const rows = [limited(row(0.9), row(1.05)), limited(row(0.9), row(1.05))];
    const want = evaluate(batchOf(lengths(3, 3)), { clipRange: [0.9, 1.05] });
    // The columns are float32.
    expect(evaluate(batchOf(rows), options).d).toEqual(want.d);
    const mixed = [limited(actions(0.9, 0.9, 0.9), row(1.05)), rows[1]!];
    expect(evaluate(batchOf(mixed), options).d).toEqual(want.d);
  });

  test("shaped rows are those whose column says so", () => {
    const rows = [{ length: 2, columns: { shaped: row(1) } }, { length: 2 }];
    const [plain, shaped] = [{}, { shaped: true }].map((options) =>
      evaluate(batchOf(rows), options),
    );
    expect(shaped!.d.slice(2)).toEqual(plain!.d.slice(2));
    // d -p / (p + 0.1), p = exp(-1), by a mean over four tokens.
    const p = Math.exp(-1);
    expect(shaped!.d[0]).toBeCloseTo((-0.1 * p) / (p + 0.1) ** 2 / 4, 7);
  });

  test("the sampler's log-probs are read where something corrects for it", () => {
    expect(surrogate().columns).toEqual(["advantage"]);
    const options = { mismatch: "token-truncate", mismatchHigh: 1.5, form: "unclipped" } as const;
    expect(surrogate(options).columns).toEqual(["advantage", "samplerLogProb"]);
    const { measures } = evaluate(batchOf([sampled(1, -1), sampled(1, 0)]), options);
    // The old log-prob of the first action is -1: a weight of e, cut to 1.5.
    expect(measures).toMatchObject({
      "sampling/importance_sampling_ratio/max": { kind: "max", value: 1.5 },
      "sampling/sampling_logp_difference/max": { kind: "max", value: 1 },
    });
    expect(evaluate(batchOf(lengths(2))).measures).not.toHaveProperty([
      "sampling/sampling_logp_difference/max",
    ]);
  });

  test("the rows of a group agree in their weight", () => {
    const rows = [1, 2].map((weight) => ({ length: 2, columns: { groupWeight: row(weight) } }));
    const options = { aggregation: "group-weighted" } as const;
    expect(surrogate(options).columns).toEqual(["advantage", "groupWeight"]);
    expect(refusal(() => evaluate(batchOf(rows), options))).toMatch(/"groupWeight".*"1, 2"/);
  });
});

describe("metrics", () => {
  const value = (measure: Measure | undefined) =>
    measure?.kind === "mean" ? measure.sum / measure.count : measure?.value;

  test("clip ratios are means over tokens, their extremes over rows", () => {
    const rows = [
      { length: 1, advantage: row(1) },
      { length: 3, advantage: row(1) },
    ];
    const { measures } = evaluate(batchOf(rows), { epsilonHigh: 0.1 });
    // Log-ratios are 0.3 sin t: above log 1.1 at t = 1 and 2.
    expect(value(measures["clip_ratio/high_mean"])).toBe(0.5);
    expect(value(measures["clip_ratio/high_max"])).toBeCloseTo(2 / 3, 12);
    expect(value(measures["clip_ratio/low_mean"])).toBe(0);
    expect(value(measures["clip_ratio/region_mean"])).toBe(0.5);
  });

  test("at the level of sequences they are means over rows", () => {
    const rows = [
      { length: 1, advantage: row(1) },
      { length: 3, advantage: row(1) },
    ];
    const { measures } = evaluate(batchOf(rows), { epsilonHigh: 0.1, level: "sequence" });
    // The first row's ratio is 1, the second's exp(0.3 (sin 1 + sin 2 + sin 3) / 3) = 1.21.
    expect(value(measures["clip_ratio/high_mean"])).toBe(0.5);
  });

  test("KL and entropy are means over tokens", () => {
    const { measures } = evaluate(batchOf(lengths(2, 2)), { beta: 0.1, entropyCoefficient: 0.1 });
    const entropy = [0, 1, 2, 3].map((t) => Math.abs(-1 + 0.5 * Math.sin(t)));
    expect(value(measures.entropy)).toBeCloseTo(entropy.reduce((a, b) => a + b, 0) / 4, 6);
    expect(value(measures.kl)).toBeGreaterThan(0);
  });

  test("an all-masked batch has loss 0, gradient 0 and metrics of nothing", () => {
    const masked = batchOf([
      { length: 2, masked: true },
      { length: 1, masked: true },
    ]);
    const { loss, d, measures } = evaluate(masked, { beta: 0.1 });
    expect(loss).toBe(0);
    expect(d).toEqual([0, 0, 0]);
    for (const measure of Object.values(measures)) {
      if (measure.kind === "mean") expect(measure).toMatchObject({ sum: 0, count: 0 });
      else expect(Number.isFinite(measure.value)).toBe(false);
    }
  });
});
