import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import {
  type GroupLossInputs,
  type GroupLossOptions,
  groupLoss,
} from "../../src/engine/kernels/groupLoss.js";
import * as groupLossTable from "../../src/engine/kernels/groupLossTable.js";
import { klHinge } from "../../src/engine/kernels/klHinge.js";
import { rowScore, rowScoreBackward } from "../../src/engine/kernels/rowScore.js";
import * as rowScoreTable from "../../src/engine/kernels/rowScoreTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const rows = {
  score: [0, 1],
  groupOffsets: [0, 2],
  reward: [1, 0],
  lengths: [3, 4],
  advantage: [1, -1],
};

function inputsOf(kind: groupLossTable.GroupLossKind): GroupLossInputs {
  const needed = groupLossTable.kindInputs[kind] as readonly (keyof typeof rows)[];
  const { score, groupOffsets } = rows;
  return { score, groupOffsets, ...Object.fromEntries(needed.map((name) => [name, rows[name]])) };
}

const kinds = Object.keys(groupLossTable.kinds) as groupLossTable.GroupLossKind[];
const optionValues = {
  tau: 1,
  lambda: 1,
  maxCompletionLength: 9,
  eps: 1,
  ddof: 0,
  skipConstant: true,
  beta: 1,
  labelSmoothing: 0.1,
};

describe("the kernel tables", () => {
  it("refuse divergences without a base, and name what is missing", () => {
    const refused = rowScoreTable.rowScoreTable.combinations.filter(({ refusal }) => refusal);
    expect(refused.map(({ choices }) => `${choices.term} ${choices.base}`)).toEqual([
      "k1 none",
      "k1 none",
      "k3 none",
      "k3 none",
    ]);
    expect(groupLossTable.groupLossTable.combinations).toHaveLength(kinds.length);
  });
});

describe("groupLoss", () => {
  it.each(kinds)("%s takes its own options and inputs, and refuses all others", (kind) => {
    const own = Object.keys(groupLossTable.kindOptions[kind]);
    const required = kind === "drpo" ? { maxCompletionLength: 9 } : {};
    for (const [name, value] of Object.entries(optionValues)) {
      const options = { kind, ...required, [name]: value } as GroupLossOptions;
      const call = () => groupLoss(engine, inputsOf(kind), options).loss.readSync();
      if (own.includes(name)) expect(call()[0]).not.toBeNaN();
      else
        expect(refusal(call)).toMatch(
          `ERR_OPTION: Expected nothing (kind is "${kind}") for ${name}`,
        );
    }
    for (const name of ["reward", "lengths", "advantage"] as const) {
      const needed = (groupLossTable.kindInputs[kind] as readonly string[]).includes(name);
      const inputs = { ...inputsOf(kind), [name]: needed ? undefined : rows[name] };
      expect(
        refusal(() => groupLoss(engine, inputs as GroupLossInputs, { kind, ...required })),
      ).toMatch(
        `Expected ${needed ? "one value a row" : "nothing"} (kind is "${kind}") for ${name}`,
      );
    }
  });

  it("names what does not fit", () => {
    const ask = (options: object, inputs: object = {}) =>
      refusal(() =>
        groupLoss(engine, { ...inputsOf("real"), ...inputs }, {
          kind: "real",
          ...options,
        } as GroupLossOptions),
      );
    expect(ask({ kind: "reall" })).toMatch(/ERR_OPTION: .* for kind .* \(did you mean "real"\?\)/);
    expect(ask({ kind: undefined })).toMatch(/ERR_OPTION: .* for kind /);
    expect(ask({ Tau: 1 })).toMatch(/did you mean "tau"/);
    expect(ask({}, { rewards: [1, 0] })).toMatch(/did you mean "reward"/);
    for (const tau of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "1"]) {
      expect(ask({ tau })).toMatch(/^ERR_RANGE: .* for tau /);
    }
    for (const denominator of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(ask({ denominator })).toMatch(/^ERR_RANGE: .* for denominator /);
    }
    expect(ask({}, { score: [0, 1, 2] })).toMatch(/^ERR_SHAPE: .* for score /);
    expect(ask({}, { score: new Int32Array(2) })).toMatch(/^ERR_DTYPE: .* for score /);
    expect(ask({}, { reward: new Float64Array(2) })).toMatch(/^ERR_DTYPE: .* for reward /);
    expect(ask({}, { valid: [1] })).toMatch(/^ERR_SHAPE: .* for valid /);
    expect(ask({}, { groupOffsets: [0, 3, 2] })).toMatch(/^ERR_RANGE: .* groupOffsets/);
  });

  it("names options out of range by kind", () => {
    const ask = (kind: groupLossTable.GroupLossKind, options: object) =>
      refusal(() => groupLoss(engine, inputsOf(kind), { kind, ...options } as GroupLossOptions));
    expect(ask("drpo", {})).toMatch(
      /^ERR_RANGE: .* for maxCompletionLength but received undefined/,
    );
    expect(ask("drpo", { maxCompletionLength: 0 })).toMatch(/ for maxCompletionLength /);
    expect(ask("drpo", { maxCompletionLength: 9, lambda: 0 })).toMatch(
      /^ERR_RANGE: .* for lambda /,
    );
    expect(ask("reg-grpo", { eps: -1 })).toMatch(/^ERR_RANGE: .* for eps /);
    expect(ask("reg-grpo", { ddof: 2 })).toMatch(/^ERR_RANGE: .* for ddof /);
    expect(ask("reg-grpo", { skipConstant: 1 })).toMatch(/^ERR_OPTION: .* for skipConstant /);
    expect(ask("dpo", { beta: 0 })).toMatch(/^ERR_RANGE: .* for beta /);
    expect(ask("dpo", { labelSmoothing: 0.51 })).toMatch(/^ERR_RANGE: .* for labelSmoothing /);
    expect(ask("dpo", { labelSmoothing: -0.1 })).toMatch(/^ERR_RANGE: .* for labelSmoothing /);
  });

  it("wants pairs for pairwise kinds, and says which group is none", () => {
    const ask = (groupOffsets: number[]) => () =>
      groupLoss(engine, { score: [0, 1, 2], groupOffsets }, { kind: "dpo" });
    expect(refusal(ask([0, 2, 3]))).toMatch(
      /^ERR_SHAPE: Expected 2 rows.* for group 1 .* received 1$/,
    );
    expect(refusal(ask([0, 3]))).toMatch(/ for group 0 .* received 3$/);
  });

  it("refuses disposed tensors and those of another engine", () => {
    const gone = engine.zeros([2], "f64");
    gone.dispose();
    using other = new Engine({ device: "cpu" });
    const call = (score: GroupLossInputs["score"]) => () =>
      groupLoss(engine, { ...inputsOf("real"), score }, { kind: "real" });
    expect(refusal(call(gone))).toMatch(/^ERR_DISPOSED: /);
    expect(refusal(call(other.zeros([2], "f64")))).toMatch(/^ERR_OPTION: .* another engine/);
  });
});

describe("rowScore", () => {
  const tokens = { logProb: [-1, -2, -3], rowOffsets: [0, 1, 3] };
  const base = { ...tokens, baseLogProb: [0, 0, 0] };

  it("takes every legal combination and refuses divergences without a base", () => {
    for (const { choices, refusal: refused } of rowScoreTable.rowScoreTable.combinations) {
      const options = { term: choices.term, pooling: choices.pooling } as never;
      const call = () => rowScore(engine, choices.base === "given" ? base : tokens, options);
      if (refused === null) expect(call().score.readSync()).toHaveLength(2);
      else expect(refusal(call)).toMatch(/^ERR_OPTION: term "k\d" .* give baseLogProb$/);
    }
  });

  it("names what does not fit", () => {
    const ask = (options: object, inputs: object = {}) =>
      refusal(() => rowScore(engine, { ...tokens, ...inputs }, options as never));
    expect(ask({})).toMatch(/^ERR_OPTION: .* for pooling /);
    expect(ask({ pooling: "max" })).toMatch(/^ERR_OPTION: .* for pooling /);
    expect(ask({ pooling: "sum", term: "k2" })).toMatch(/^ERR_OPTION: .* for term /);
    expect(ask({ pooling: "sum" }, { mask: [1] })).toMatch(/^ERR_SHAPE: .* for mask /);
    expect(ask({ pooling: "sum" }, { rowOffsets: [0, 2] })).toMatch(/^ERR_SHAPE: .* for logProb /);
    expect(ask({ pooling: "sum" }, { ref: [1] })).toMatch(/^ERR_OPTION: .* "ref"/);
  });

  it("backward takes log-probs for k3, and for k3 alone", () => {
    const { tokenWeight } = rowScore(engine, tokens, { pooling: "sum" });
    const above = { dScore: [1, 1], tokenWeight, rowOffsets: tokens.rowOffsets };
    const ask = (inputs: object, options: object = {}) =>
      refusal(() => rowScoreBackward(engine, { ...above, ...inputs }, options));
    expect(ask({ logProb: tokens.logProb })).toMatch(/nothing \(term is "log-ratio"\) for logProb/);
    expect(ask({}, { term: "k3" })).toMatch(/log-probs \(term is "k3"\) for logProb /);
    expect(ask({ logProb: tokens.logProb }, { term: "k3" })).toMatch(/ for baseLogProb /);
    expect(ask({ dScore: new Float32Array(2) })).toMatch(/^ERR_DTYPE: .* for dScore /);
    expect(ask({ dScore: [1] })).toMatch(/^ERR_SHAPE: .* for dScore /);
    expect([...rowScoreBackward(engine, above).readSync()]).toEqual([1, 1, 1]);
  });
});

describe("klHinge", () => {
  it("refuses what is no KL", () => {
    expect(refusal(() => klHinge(Number.NaN))).toMatch(/^ERR_RANGE: .* for kl /);
    expect(refusal(() => klHinge(0.1, { beta: -1 }))).toMatch(/^ERR_RANGE: .* for beta /);
    expect(refusal(() => klHinge(0.1, { eps: 1 } as never))).toMatch(/^ERR_OPTION: /);
  });
});
