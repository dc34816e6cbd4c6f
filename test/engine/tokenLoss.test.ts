import { afterAll, describe, expect, it, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { advantageInputs } from "../../src/engine/kernels/surrogateTable.js";
import {
  type TokenLossInputs,
  type TokenLossOptions,
  tokenLoss,
} from "../../src/engine/kernels/tokenLoss.js";
import { tokenLossTable } from "../../src/engine/kernels/tokenLossTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

const logits = engine.tensor(new Float32Array(12), [4, 3]);
const plain = {
  logits,
  targets: [0, 1, 2, 0],
  oldLogProb: [-1, -1, -1, -1],
  advantage: [1, -1],
  rowOffsets: [0, 2, 4],
};
const call = (inputs: object = {}, options: object = {}) =>
  engine.scope(() => {
    const all = { aggregation: "token-mean", ...options } as TokenLossOptions;
    return tokenLoss(engine, { ...plain, ...inputs } as TokenLossInputs, all);
  });

describe("what is not local to tokens is refused, with what takes it", () => {
  const values = { row: [1, 1], segment: [1, 1], token: [1, 1, 1, 1] };
  const run = (choices: Record<string, string>) => {
    const unit = choices.advantage as keyof typeof values;
    const { form, level } = choices;
    return call({ advantage: null, [advantageInputs[unit]]: values[unit] }, { form, level });
  };
  const combinations = tokenLossTable.combinations.map(({ choices, refusal: refused }) => ({
    ...choices,
    refused,
  }));

  test.each(combinations.filter(({ refused }) => refused !== null))(
    "$form, level $level, advantage per $advantage",
    ({ refused, ...choices }) => {
      const message = refusal(() => run(choices));
      expect(message).toMatch(/^ERR_OPTION: /);
      expect(message).toContain(refused!.reason);
      // What is proposed is taken.
      const near: Record<string, string> = { ...choices };
      for (const part of refused!.nearest.split(" with ")) {
        const named = /^(form|level): "([^"]+)"$/.exec(part);
        if (named) near[named[1]!] = named[2]!;
        else near.advantage = "token";
      }
      expect(() => run(near)).not.toThrow();
    },
  );

  test.each(combinations.filter(({ refused }) => refused === null))(
    "$form, level $level, advantage per $advantage is taken",
    ({ refused: _, ...choices }) => {
      expect(() => run(choices)).not.toThrow();
    },
  );

  it("an off-policy test", () => {
    expect(refusal(() => call({}, { offPolicyThreshold: 0.1 }))).toBe(
      "ERR_OPTION: Expected nothing for offPolicyThreshold but received 0.1 (tokenLoss: the test " +
        "sums the current log-probs of a row; logProb, surrogate and logProbBackward one after the " +
        "other take it)",
    );
  });
});

describe("arguments", () => {
  it.each<[string, object, object, string]>([
    ["an unknown input", { logProb: [0] }, {}, 'inputs but received "logProb"'],
    ["an unknown option", {}, { temprature: 1 }, 'did you mean "temperature"?'],
    ["an unknown level", {}, { level: "tokens" }, 'did you mean "token"?'],
    ["no advantage", { advantage: null }, {}, "exactly one of advantage"],
    ["too few targets", { targets: [0, 1] }, {}, "shape [4] for targets"],
    ["offsets of fewer tokens", { rowOffsets: [0, 2, 3] }, {}, "for rowOffsets but received 3"],
    ["a mask of another length", { mask: new Uint8Array(3) }, {}, "for mask"],
    ["groups of fewer rows", { groupOffsets: [0, 1] }, { aggregation: "balanced" }, "(rows)"],
    ["segments", { segmentOffsets: [0, 4] }, {}, 'level is "token"'],
    ["a temperature of 0", {}, { temperature: 0 }, "for temperature"],
    ["too many columns", {}, { columns: 4 }, "for columns"],
    ["an out of other names", {}, { out: { logits: null } }, '"dLogits"'],
    [
      "an out that is no tensor",
      {},
      { out: { dLogits: new Float32Array(12) } },
      "a tensor for out",
    ],
    ["an out of fewer columns", {}, { out: { dLogits: engine.empty([4, 2]) } }, "at least 3"],
    [
      "an out of another dtype",
      {},
      { out: { dLogits: engine.empty([4, 3], "bf16") } },
      "dtype f32",
    ],
    ["an out of nothing", {}, { out: { entropy: engine.empty([4]) } }, "nothing (the call does"],
    ["entropies denied", {}, { entropy: false, entropyCoefficient: 0.1 }, "for entropy"],
    ["an entropy option without them", {}, { entropyAggregation: "loss" }, "entropy is not given"],
    ["no old policy", { oldLogProb: null }, {}, "for oldLogProb"],
    ["integers as logits", { logits: engine.empty([4, 3], "i32") }, {}, "for logits"],
  ])("%s", (_, inputs, options, message) => {
    expect(refusal(() => call(inputs, options))).toContain(message);
  });

  it("a disposed tensor", () => {
    const gone = engine.empty([4, 3]);
    gone.dispose();
    expect(refusal(() => call({ logits: gone }))).toMatch(/^ERR_DISPOSED: /);
  });

  it("an engine that refused a call takes the next", () => {
    const { loss } = call();
    expect(loss.readSync()[0]).toBeTypeOf("number");
  });

  it("gives back no entropies unless asked", () => {
    expect(call().entropy).toBeNull();
    expect(call({}, { entropy: true }).entropy!.shape).toEqual([4]);
    expect(call({}, { entropyCoefficient: 0.1 }).dEntropy!.shape).toEqual([4]);
  });

  it("writes to out, which may be the logits", () => {
    const own = engine.tensor(new Float32Array(12), [4, 3]);
    expect(call({ logits: own }, { out: { dLogits: own } }).dLogits).toBe(own);
    const again = call({ logits: own });
    const once = call({ logits: own }, { out: again });
    for (const name of Object.keys(again) as (keyof typeof again)[]) {
      expect(once[name], name).toBe(again[name]);
    }
  });

  it("refuses one memory for two results, or for another input's", () => {
    const own = engine.tensor(new Float32Array(4));
    const twice = () => call({}, { out: { logProb: own, dLogProb: own } });
    expect(refusal(twice)).toContain("memory that the call does not use otherwise");
    const taken = () => call({ oldLogProb: own }, { out: { logProb: own } });
    expect(refusal(taken)).toContain("that of oldLogProb");
  });
});
