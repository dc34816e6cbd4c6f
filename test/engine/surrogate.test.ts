import { afterAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { klEstimate } from "../../src/engine/kernels/kl.js";
import { klTable } from "../../src/engine/kernels/klTable.js";
import { surrogate, surrogateMetrics } from "../../src/engine/kernels/surrogate.js";
import type {
  SurrogateInputs,
  SurrogateOptions,
} from "../../src/engine/kernels/surrogateArguments.js";
import * as table from "../../src/engine/kernels/surrogateTable.js";
import {
  type AdvantageUnit,
  advantageInputs,
  type Form,
  type Level,
  refuseCombination,
  refuseKlRatio,
  refuseNormalisedRatio,
  surrogateTable,
} from "../../src/engine/kernels/surrogateTable.js";
import { Random } from "../../src/verify/inputs.js";
import { tokenBatch } from "../../src/verify/surrogate/batch.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

interface Choices {
  form: Form;
  level: Level;
  advantage: AdvantageUnit;
}

/** Two rows of two tokens, each a segment; one group. */
const batch = { logProb: [-1, -1, -1, -1], oldLogProb: [-1, -1, -1, -1], rowOffsets: [0, 2, 4] };
const values = { row: [1, 1], segment: [1, 1], token: [1, 1, 1, 1] };
const four = [0.5, 0.5, 0.5, 0.5];

function inputsOf({ level, advantage }: Omit<Choices, "form">, more: object = {}) {
  const segments = level === "segment" ? { segmentOffsets: [0, 2, 4] } : {};
  return {
    ...{ ...batch, ...segments, [advantageInputs[advantage]]: values[advantage] },
    ...more,
  } as SurrogateInputs;
}

/** What a call throws; fails where it throws nothing, or something that is no FiresteelError. */
function thrown(call: () => unknown): { code: string; message: string } {
  try {
    engine.scope(call as () => null);
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    const { code, message } = error as FiresteelError;
    return { code, message };
  }
  throw new Error("nothing was thrown");
}

const plain = { form: "clip", level: "token", advantage: "row" } as const;
function call(inputs: object, options: object = {}, choices: Choices = plain) {
  const { form, level } = choices;
  const all = { aggregation: "token-mean", form, level, ...options } as SurrogateOptions;
  return surrogate(engine, inputsOf(choices, inputs), all);
}

/** A combination with what `nearest` proposes in the place of what was given. */
function follow(choices: Choices, nearest: string): Choices {
  const out: Record<string, string> = { ...choices };
  for (const part of nearest.split(" with ")) {
    const named = /^(form|level): "([^"]+)"$/.exec(part);
    if (named) out[named[1]!] = named[2]!;
    else {
      const unit = Object.entries(advantageInputs).find(([, input]) => input === part);
      expect(unit, nearest).toBeDefined();
      out.advantage = unit![0];
    }
  }
  return out as unknown as Choices;
}

const combinations = surrogateTable.combinations.map(({ choices, refusal }) => ({
  ...(choices as unknown as Choices),
  refusal,
}));
const title = "$form, level $level, advantage per $advantage";

describe("combinations", () => {
  test.each(combinations.filter(({ refusal }) => refusal !== null))(
    `${title}: refused with the reason and the nearest legal one`,
    ({ refusal, ...choices }) => {
      const { code, message } = thrown(() => call({}, {}, choices));
      expect(code).toBe("ERR_OPTION");
      expect(message).toContain(`Expected ${refusal!.nearest} for `);
      expect(message).toContain(`"${choices.form}"`);
      expect(message).toContain(refusal!.reason);
      const near = follow(choices, refusal!.nearest);
      expect(refuseCombination(near.form, near.level, near.advantage)).toBeNull();
      call({}, {}, near);
    },
  );

  test.each(combinations.filter(({ refusal }) => refusal === null))(
    `${title}: taken`,
    (choices) => {
      const { loss } = call({}, {}, choices);
      expect(loss.readSync()[0]).toBeLessThanOrEqual(1);
    },
  );

  test("the message names both sides", () => {
    const sequence = { form: "dppo-tv", level: "sequence", advantage: "row" } as const;
    expect(thrown(() => call({}, {}, sequence)).message).toBe(
      'Expected level: "token" for level but received "sequence" ' +
        '(form "dppo-tv": its limits are differences of token probabilities)',
    );
    const tokens = { form: "clip", level: "sequence", advantage: "token" } as const;
    expect(thrown(() => call({}, {}, tokens)).message).toBe(
      'Expected level: "sequence-token" for tokenAdvantage but received an array of 4 ' +
        '(form "clip", level "sequence": all tokens of a sequence share one ratio and one advantage)',
    );
  });

  const pairs = combinations.filter(
    ({ advantage, refusal }) => refusal === null && advantage === "row",
  );
  test.each(pairs)("$form, level $level: KL times the ratio as the table says", (choices) => {
    const ask = (klRatio: boolean) => call({ refLogProb: four }, { beta: 0.1, klRatio }, choices);
    const refusal = refuseKlRatio(choices.form);
    if (refusal === null) ask(true);
    else expect(thrown(() => ask(true)).message).toContain(refusal.reason);
    ask(false); // what is nearest
  });

  test.each(pairs)("$form, level $level: normalised ratios as the table says", (choices) => {
    const normalised = { ratioScale: four, ratioBias: four };
    const refusal = refuseNormalisedRatio(choices.form, choices.level);
    if (refusal === null) {
      expect(call(normalised, {}, choices).dRatioBias).not.toBeNull();
      return;
    }
    const { message } = thrown(() => call(normalised, {}, choices));
    expect(message).toContain(`Expected ${refusal.nearest} for ratioScale`);
    expect(message).toContain(refusal.reason);
    const near = follow(choices, refusal.nearest);
    expect(refuseNormalisedRatio(near.form, near.level)).toBeNull();
    call(normalised, {}, near);
  });

  test("balanced asks for an advantage a row", () => {
    const options = { aggregation: "balanced" };
    const tokens = { ...plain, advantage: "token" } as const;
    const { message } = thrown(() => call({ groupOffsets: [0, 2] }, options, tokens));
    expect(message).toMatch(/Expected advantage for tokenAdvantage .*aggregation "balanced": rows/);
    call({ groupOffsets: [0, 2] }, options);
  });
});

const ref = { refLogProb: four };
const sampler = { samplerLogProb: four };
const limits = { rowLimits: { low: [0.5, 0.5], high: [2, 2] } };
const sapo = { form: "sapo" };

describe("what does not apply is refused", () => {
  test.each<[string, object, object, string]>([
    ["epsilon", {}, { ...sapo, epsilon: 0.2 }, 'form is "sapo"'],
    ["epsilonHigh", {}, { ...sapo, epsilonHigh: 0.2 }, 'form is "sapo"'],
    ["epsilon", {}, { clipRange: [0, 2], epsilon: 0.2 }, "clipRange is given"],
    ["epsilonHigh", {}, { clipRange: [0, 2], epsilonHigh: 0.2 }, "clipRange is given"],
    ["epsilon", limits, { epsilon: 0.2 }, "rowLimits is given"],
    ["clipRange", limits, { clipRange: [0, 2] }, "rowLimits is given"],
    ["clipRange", {}, { form: "unclipped", clipRange: [0, 2] }, 'form is "unclipped"'],
    ["rowLimits", limits, sapo, 'form is "sapo"'],
    ["tokenLimits", { tokenLimits: { low: four, high: four } }, sapo, 'form is "sapo"'],
    [
      "tokenLimits",
      { ...limits, tokenLimits: { low: four, high: four } },
      {},
      "rowLimits is given",
    ],
    ...Object.entries(table.formOptions).map(
      ([name, { form }]): [string, object, object, string] => {
        const other = form === "clip" ? "sapo" : "clip";
        return [name, {}, { form: other, [name]: 3 }, `form is "${other}"`];
      },
    ),
    ["logRatioClamp", {}, { level: "none", logRatioClamp: [-1, 1] }, 'level is "none"'],
    ["shapeGamma", {}, { shapeGamma: 0.1 }, "shaped is not given"],
    ["shapeBase", {}, { shapeBase: "old" }, "shaped is not given"],
    ["klEstimator", {}, { klEstimator: "k1" }, "refLogProb is not given"],
    ["klRatio", {}, { klRatio: true }, "refLogProb is not given"],
    ["klClamp", {}, { klClamp: { value: 1 } }, "refLogProb is not given"],
    ["mismatchLow", sampler, { mismatchLow: 0.5 }, 'mismatch is "none"'],
    ["mismatchHigh", sampler, { mismatchHigh: 2 }, 'mismatch is "none"'],
    ["horizon", {}, { horizon: 3 }, 'aggregation is "token-mean"'],
    ["emptyRows", {}, { emptyRows: "count" }, 'aggregation is "token-mean"'],
    [
      "emptyRows",
      {},
      { aggregation: "seq-mean-token-sum", emptyRows: "count", denominator: 3 },
      "denominator is given",
    ],
    ["groupOffsets", { groupOffsets: [0, 2] }, {}, 'aggregation is "token-mean"'],
    [
      "groupWeight",
      { groupOffsets: [0, 2], groupWeight: [1] },
      { aggregation: "balanced" },
      'aggregation is "balanced"',
    ],
    ["segmentOffsets", { segmentOffsets: [0, 2, 4] }, {}, 'level is "token"'],
    ["entropyAggregation", {}, { entropyAggregation: "loss" }, "entropy is not given"],
    [
      "entropyDenominator",
      { entropy: four },
      { entropyCoefficient: 0.1, entropyDenominator: 2 },
      'entropyAggregation is "loss"',
    ],
  ])("%s (%#)", (name, inputs, options, reason) => {
    const { code, message } = thrown(() => call(inputs, options));
    expect(code).toBe("ERR_OPTION");
    expect(message).toContain(`nothing (${reason}) for ${name} but received`);
  });
});

describe("what others call for is missed", () => {
  test.each<[string, object, object, string]>([
    ["refLogProb", {}, { beta: 0.1 }, "beta is above 0"],
    ["entropy", {}, { entropyCoefficient: -0.1 }, "entropyCoefficient is not 0"],
    ["oldLogProb", { oldLogProb: null }, {}, 'level is "token"'],
    [
      "oldLogProb",
      { oldLogProb: null, shaped: [1, 0] },
      { level: "none", shapeBase: "old" },
      'shapeBase is "old"',
    ],
    [
      "oldLogProb",
      { oldLogProb: null, ...sampler },
      { level: "none", mismatch: "token-mask" },
      'mismatch is "token-mask"',
    ],
    ["oldLogProb", { oldLogProb: null }, { level: "none", offPolicyThreshold: 1 }, "sampler or it"],
    ["samplerLogProb", {}, { mismatch: "token-mask" }, 'mismatch is "token-mask"'],
    ["segmentOffsets", { segmentOffsets: null }, { level: "segment" }, 'level is "segment"'],
    ["groupOffsets", {}, { aggregation: "balanced" }, 'aggregation is "balanced"'],
    ["ratioBias", { ratioScale: four }, {}, "ratioScale is given"],
    ["ratioScale", { ratioBias: four }, {}, "ratioBias is given"],
    ["horizon", {}, { aggregation: "seq-mean-token-sum-norm" }, ""],
  ])("%s (%#)", (name, inputs, options, reason) => {
    const { code, message } = thrown(() => call(inputs, options));
    expect(code).toBe("ERR_OPTION");
    expect(message).toContain(`for ${name} but received`);
    expect(message).toContain(reason);
  });

  test("level none does without the old policy where nothing else reads it", () => {
    const { loss } = call({ oldLogProb: null }, { level: "none" });
    expect(loss.readSync()[0]).toBe(-1);
  });

  test("exactly one advantage", () => {
    const none = thrown(() => call({ advantage: null }));
    expect(none.message).toMatch(/exactly one of advantage, .* but received none/);
    const both = thrown(() => call({ tokenAdvantage: four }));
    expect(both.message).toMatch(/but received advantage, tokenAdvantage/);
  });
});

describe("numbers out of their range", () => {
  const nan = Number.NaN;
  test.each<[string, object, object]>([
    ["epsilon", {}, { epsilon: -0.1 }],
    ["epsilon", {}, { epsilon: nan }],
    ["epsilon", {}, { epsilon: null }],
    ["epsilonHigh", {}, { epsilonHigh: Infinity }],
    ["clipRange[0]", {}, { clipRange: [-1, 2] }],
    ["clipRange[1]", {}, { clipRange: [1, 0.5] }],
    ["clipRange[1]", {}, { clipRange: [0, nan] }],
    ["delta", {}, { delta: 0 }],
    ["dualClip", {}, { dualClip: 0 }],
    ["tauPositive", {}, { ...sapo, tauPositive: 0 }],
    ["tauNegative", {}, { ...sapo, tauNegative: nan }],
    ["ratioCap", {}, { form: "dppo-tv", ratioCap: 0 }],
    ["kNegative", {}, { form: "vespo", level: "sequence-product", kNegative: -1 }],
    ["logRatioClamp[0]", {}, { logRatioClamp: [0.1, 1] }],
    ["logRatioClamp[0]", {}, { logRatioClamp: [nan, 1] }],
    ["logRatioClamp[1]", {}, { logRatioClamp: [-1, Infinity] }],
    ["shapeGamma", { shaped: [1, 0] }, { shapeGamma: 0 }],
    ["beta", ref, { beta: -1 }],
    ["klClamp.difference", ref, { klClamp: { difference: 0 } }],
    ["klClamp.value", ref, { klClamp: { value: nan } }],
    ["mismatchLow", sampler, { mismatch: "token-mask", mismatchLow: -1 }],
    ["mismatchHigh", sampler, { mismatch: "token-mask", mismatchLow: 2, mismatchHigh: 1 }],
    ["offPolicyThreshold", sampler, { offPolicyThreshold: nan }],
    ["denominator", {}, { denominator: 0 }],
    ["horizon", {}, { aggregation: "seq-mean-token-sum-norm", horizon: -1 }],
    ["entropyCoefficient", { entropy: four }, { entropyCoefficient: Infinity }],
    [
      "entropyDenominator",
      { entropy: four },
      { entropyAggregation: "token-mean", entropyDenominator: 0 },
    ],
  ])("%s (%#)", (name, inputs, options) => {
    const { code, message } = thrown(() => call(inputs, options));
    expect(code).toBe("ERR_RANGE");
    expect(message).toContain(`for ${name} but received`);
  });
});

describe("choices and shapes that are none", () => {
  test.each<[string, string, object, object, RegExp]>([
    ["a misspelt form", "ERR_OPTION", {}, { form: "sappo" }, /form .*did you mean "sapo"/],
    ["a misspelt level", "ERR_OPTION", {}, { level: "sequense" }, /did you mean "sequence"/],
    ["a misspelt mismatch", "ERR_OPTION", {}, { mismatch: "token-mas" }, /"token-mask"/],
    [
      "no aggregation",
      "ERR_OPTION",
      {},
      { aggregation: undefined },
      /aggregation but received und/,
    ],
    ["a misspelt option", "ERR_OPTION", {}, { epsilonHig: 1 }, /did you mean "epsilonHigh"/],
    ["a misspelt input", "ERR_OPTION", { weigt: four }, {}, /did you mean "weight"/],
    ["a misspelt clamp", "ERR_OPTION", ref, { klClamp: { vale: 1 } }, /klClamp .*"value"/],
    ["a range of one", "ERR_OPTION", {}, { clipRange: [1] }, /\[low, high\] for clipRange/],
    ["one limit", "ERR_DTYPE", { rowLimits: { low: [1, 1] } }, {}, /rowLimits\.high/],
    ["limits of another size", "ERR_SHAPE", { rowLimits: { low: four, high: four } }, {}, /rowL/],
    ["tokens of another size", "ERR_SHAPE", { weight: [1] }, {}, /for weight/],
    ["rows of another size", "ERR_SHAPE", { shaped: [1] }, {}, /for shaped/],
    [
      "groups of other rows",
      "ERR_SHAPE",
      { groupOffsets: [0, 3] },
      { aggregation: "balanced" },
      /offsets that end at 2 \(rows\) for groupOffsets but received 3/,
    ],
    [
      "segments of other tokens",
      "ERR_SHAPE",
      { segmentOffsets: [0, 2, 5] },
      { level: "segment" },
      /offsets that end at 4 \(tokens\) for segmentOffsets but received 5/,
    ],
    [
      "a segment over two rows",
      "ERR_RANGE",
      { segmentOffsets: [0, 1, 3, 4] },
      { level: "segment" },
      /a bound at 2, where a row ends, for segmentOffsets/,
    ],
  ])("%s", (_, code, inputs, options, message) => {
    const error = thrown(() => call(inputs, options));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  test("results that were not asked for are null", () => {
    const bare = call({});
    expect([bare.dEntropy, bare.dRatioBias, bare.mismatchWeight]).toEqual([null, null, null]);
    const full = call(
      { ...sampler, entropy: four, ratioScale: four, ratioBias: four },
      { mismatch: "token-mask" },
    );
    expect(full.dEntropy!.size + full.dRatioBias!.size + full.mismatchWeight!.size).toBe(12);
    expect(full.metrics.size).toBe(surrogateMetrics.length);
    expect(engine.addon.surrogateMetrics).toBe(surrogateMetrics.length);
  });
});

test("what is wrong in one place is refused or harmless, never a crash", () => {
  const random = new Random(11);
  const oneOf = <T>(all: readonly T[]): T => all[random.integer(all.length)]!;
  const odd: unknown[] = [
    ...[null, undefined, Number.NaN, Infinity, -1, 0, 1e300, 3.5, "", "token", true, {}, []],
    ...[[0, 1], [1, Number.NaN], [0, 2 ** 31], new Float32Array(3), new Uint8Array(4).fill(7)],
    ...[Int32Array.of(0, 53), new Float64Array(53), { low: [1], high: 3 }, Symbol("x"), 10n],
  ];
  const legal = combinations.filter(({ refusal }) => refusal === null);
  const quiet = new Engine({ device: "cpu", onFault: () => {} });
  let refused = 0;
  for (let i = 0; i < 3000; ++i) {
    const { form, level, advantage } = oneOf(legal);
    const beta = oneOf([0, 0.1]);
    const options = {
      ...{ form, level, beta, aggregation: "token-mean", mismatch: oneOf(["none", "token-mask"]) },
    } as SurrogateOptions;
    const shape = { advantage, masked: true, weighted: true, entropy: true, shaped: true };
    const inputs = tokenBatch(options, { ...shape, seed: i, lengths: [20, 0, 33] });
    const target = (random.uniform() < 0.5 ? options : inputs) as unknown as Record<
      string,
      unknown
    >;
    target[oneOf([...Object.keys(target), "denominator", "tokenLimits", "ratioScale"])] =
      oneOf(odd);
    try {
      quiet.scope(() => {
        surrogate(quiet, inputs as SurrogateInputs, options).loss.readSync();
      });
    } catch (error) {
      expect(error).toBeInstanceOf(FiresteelError);
      ++refused;
    }
  }
  expect(refused).toBeGreaterThan(1500);
  quiet.dispose();
});

describe("kl", () => {
  const inputs = { logProb: [-1, -2], refLogProb: [-2, -2], rowOffsets: [0, 2] };
  const ask = (options: object, more: object = {}) =>
    klEstimate(engine, { ...inputs, ...more }, options as { estimator: "k1" });

  test("k3+ is refused: without a gradient it is k3", () => {
    expect(thrown(() => ask({ estimator: "k3+" })).message).toBe(
      'Expected estimator: "k3" for estimator but received "k3+" (without a gradient it is k3)',
    );
    expect(klTable.combinations.filter(({ refusal }) => refusal !== null)).toHaveLength(1);
  });

  test.each<[string, string, object, object, RegExp]>([
    ["no estimator", "ERR_OPTION", {}, {}, /one of "k1"/],
    ["a misspelt option", "ERR_OPTION", { estimator: "k1", clmp: 1 }, {}, /did you mean "clamp"/],
    ["a clamp of 0", "ERR_RANGE", { estimator: "k1", clamp: { value: 0 } }, {}, /clamp\.value/],
    ["a mask of another size", "ERR_SHAPE", { estimator: "k1" }, { mask: [1] }, /for mask/],
  ])("%s is refused", (_, code, options, more, message) => {
    const error = thrown(() => ask(options, more));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });
});
