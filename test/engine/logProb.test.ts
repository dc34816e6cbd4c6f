import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import {
  type LogProbBackwardInputs,
  type LogProbOptions,
  logProb,
  logProbBackward,
  MAX_VOCAB,
} from "../../src/engine/kernels/logProb.js";
import { logProbMerge, logProbPartial } from "../../src/engine/kernels/logProbShards.js";
import { forwardTolerances, logProbTable } from "../../src/engine/kernels/logProbTable.js";
import { refusal } from "./refusal.js";

const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

const logits = engine.tensor([0, 1, 2, 3, 4, 5], [2, 3]);
const targets = engine.tensor([0, 2], [2], "i32");

const forward = (options: unknown) =>
  refusal(() => logProb(engine, logits, targets, options as LogProbOptions));

describe("temperature", () => {
  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e31, 1e-31])(
    "%d is refused, alone and among others",
    (bad) => {
      expect(forward({ temperature: bad })).toMatch(
        /^ERR_RANGE: Expected a number in \[1e-30, 1e\+?30\] for temperature but received /,
      );
      for (const array of [[1, bad], Float32Array.of(1, bad)]) {
        expect(forward({ temperature: array })).toMatch(
          /^ERR_RANGE: Expected a number in \[1e-30, 1e\+?30\] for temperature\[1\] but received /,
        );
      }
    },
  );

  it("takes the limits themselves, as numbers and as floats", () => {
    for (const limit of [1e-30, 1e30]) {
      expect(forward({ temperature: limit })).toBe("nothing thrown");
      expect(forward({ temperature: [limit, limit] })).toBe("nothing thrown");
      expect(forward({ temperature: Float32Array.of(limit, 1) })).toBe("nothing thrown");
    }
  });

  it("has one value a row, in floats", () => {
    expect(forward({ temperature: [1, 1, 1] })).toMatch(/^ERR_SHAPE: .* for temperature /);
    expect(forward({ temperature: engine.zeros([2, 1]) })).toMatch(/^ERR_SHAPE: .* temperature /);
    expect(forward({ temperature: Float64Array.of(1, 1) })).toMatch(/^ERR_DTYPE: .* temperature /);
    expect(forward({ temperature: "1" })).toMatch(/^ERR_DTYPE: .* for temperature /);
    expect(forward({ temperature: null })).toMatch(/^ERR_DTYPE: .* for temperature /);
  });
});

describe("columns and options", () => {
  it.each([0, 4, 1.5, Number.NaN, -1])("%d of 3 columns is refused", (columns) => {
    expect(forward({ columns })).toMatch(
      /^ERR_RANGE: Expected an integer in \[1, 3\] for columns but received /,
    );
  });

  it("the vocabulary ends at 2^20, not the width of a padded head", () => {
    const wide = engine.zeros([1, MAX_VOCAB + 8], "bf16");
    expect(refusal(() => logProb(engine, wide, [0]))).toMatch(/^ERR_RANGE: .* logits.shape\[1\]/);
    expect(refusal(() => logProb(engine, wide, [0], { columns: MAX_VOCAB }))).toBe(
      "nothing thrown",
    );
  });

  it("what is unknown or no boolean is refused", () => {
    expect(forward({ vocabmean: true })).toMatch(/did you mean "vocabMean"/);
    expect(forward({ vocabMean: 1 })).toMatch(/^ERR_OPTION: Expected a boolean for vocabMean/);
    expect(forward({ vocabStart: 0 })).toMatch(/^ERR_OPTION/);
  });

  it("what was not asked for is null", () => {
    const plain = logProb(engine, logits, targets);
    expect([plain.entropy, plain.vocabMean]).toEqual([null, null]);
    const all = logProb(engine, logits, targets, { entropy: true, vocabMean: true });
    expect([all.entropy!.shape, all.vocabMean!.shape]).toEqual([[2], [2]]);
  });
});

describe("backward", () => {
  const { stats, entropy, vocabMean } = logProb(engine, logits, targets, {
    entropy: true,
    vocabMean: true,
  });
  const call = (more: Record<string, unknown>) => {
    const args = { logits, targets, stats, dLogProb: [1, 1], ...more };
    return refusal(() => logProbBackward(engine, args as LogProbBackwardInputs));
  };

  it("needs a gradient, and with each the output it belongs to", () => {
    expect(call({ dLogProb: null })).toBe(
      "ERR_OPTION: Expected dLogProb, dEntropy or dVocabMean for gradients but received null",
    );
    expect(call({ dEntropy: [1, 1] })).toMatch(/^ERR_OPTION: .* for entropy but received null/);
    expect(call({ dVocabMean: [1, 1] })).toMatch(/^ERR_OPTION: .* for vocabMean but received null/);
    expect(call({ dLogProb: null, dVocabMean: [1, 1], vocabMean })).toBe("nothing thrown");
    expect(call({ dLogProb: undefined, dEntropy: [1, 1], entropy })).toBe("nothing thrown");
  });

  it("takes no output without its gradient", () => {
    expect(call({ entropy })).toMatch(/^ERR_OPTION: Expected nothing \(dEntropy is not given\)/);
    expect(call({ vocabMean })).toMatch(/^ERR_OPTION: Expected nothing \(dVocabMean is not/);
  });

  it("takes vocabStart and vocab together, and a shard inside of the whole", () => {
    expect(call({ vocabStart: 0 })).toBe(
      "ERR_OPTION: Expected a number beside vocabStart for vocab but received undefined",
    );
    expect(call({ vocab: 3 })).toMatch(/^ERR_OPTION: .* beside vocab for vocabStart /);
    expect(call({ vocabStart: 1, vocab: 3 })).toMatch(/^ERR_RANGE: .*\[0, 0\] for vocabStart /);
    expect(call({ vocabStart: 0, vocab: 2 })).toMatch(/^ERR_RANGE: .*\[3, 1048576\] for vocab /);
    expect(call({ vocabStart: 4, vocab: 7 })).toBe("nothing thrown");
  });

  it("writes to a tensor of the logits' dtype that is wide enough", () => {
    expect(call({ out: engine.zeros([2, 2]) })).toBe(
      'ERR_SHAPE: Expected shape [2, at least 3] for out but received "[2, 2]"',
    );
    expect(call({ out: engine.zeros([3, 3]) })).toMatch(/^ERR_SHAPE: .* for out /);
    expect(call({ out: engine.zeros([2, 3], "bf16") })).toMatch(/^ERR_DTYPE: .* for out /);
    expect(call({ out: new Float32Array(6) })).toMatch(/^ERR_DTYPE: Expected a tensor for out /);
    expect(call({ out: engine.zeros([2, 5]) })).toBe("nothing thrown");
    expect(call({ columns: 2, out: engine.zeros([2, 2]) })).toBe("nothing thrown");
  });

  it("returns the columns that count", () => {
    const dLogProb = [1, 1];
    const padded = logProb(engine, logits, [0, 1], { columns: 2 });
    const how = { logits, targets: [0, 1], stats: padded.stats, columns: 2, dLogProb };
    expect(logProbBackward(engine, how).shape).toEqual([2, 2]);
  });
});

describe("shards", () => {
  const partial = (options: unknown) =>
    refusal(() => logProbPartial(engine, logits, targets, options as { vocabStart: number }));
  const one = logProbPartial(engine, logits, targets, { vocabStart: 0 });
  const merge = (partials: unknown, options: unknown = { vocab: 3 }) =>
    refusal(() => logProbMerge(engine, partials as never, options as { vocab: number }));

  it("say where they begin", () => {
    expect(partial({})).toMatch(/^ERR_RANGE: .* for vocabStart but received undefined/);
    expect(partial({ vocabStart: -1 })).toMatch(/^ERR_RANGE: .* for vocabStart /);
    expect(partial({ vocabStart: MAX_VOCAB - 2 })).toMatch(/^ERR_RANGE: .* for vocabStart /);
    expect(partial({ vocabStart: MAX_VOCAB - 3 })).toBe("nothing thrown");
    expect(partial({ vocabStart: 0, entropy: true })).toMatch(/^ERR_OPTION: /);
  });

  it("are merged as tensors of the same rows", () => {
    expect(merge([one])).toBe("nothing thrown");
    expect(merge([one, one.readSync()])).toBe("nothing thrown");
    expect(merge(one.view([1, 2, 6]))).toBe("nothing thrown");
    expect(merge(one)).toMatch(/^ERR_SHAPE: Expected shape \[any, any, 6\] for partials /);
    expect(merge([one, engine.zeros([3, 6], "f64")])).toMatch(/^ERR_SHAPE: .* for partials\[1\] /);
    expect(merge([engine.zeros([2, 6])])).toMatch(/^ERR_DTYPE: .* for partials\[0\] /);
    expect(merge([1, 2, 3])).toMatch(/^ERR_DTYPE: .* for partials\[0\] /);
    expect(merge(null)).toMatch(/^ERR_DTYPE: .* for partials /);
  });

  it("are at least one and at most 64", () => {
    expect(merge([])).toMatch(/^ERR_RANGE: .*\[1, 64\] for partials.length /);
    expect(merge(engine.zeros([0, 2, 6], "f64"))).toMatch(/^ERR_RANGE: .* for partials.shape\[0\]/);
    expect(merge(Array(64).fill(one))).toBe("nothing thrown");
    expect(merge(Array(65).fill(one))).toMatch(/^ERR_RANGE: .*\[1, 64\] for partials.length /);
  });

  it("belong to a vocabulary", () => {
    expect(merge([one], {})).toMatch(/^ERR_RANGE: .* for vocab but received undefined/);
    expect(merge([one], { vocab: MAX_VOCAB + 1 })).toMatch(/^ERR_RANGE: .* for vocab /);
    expect(merge([one], { vocab: 3, temperature: 1 })).toMatch(/^ERR_OPTION: /);
  });
});

describe("the table", () => {
  it("has every combination of its axes, all legal, and the tolerances that checks use", () => {
    const { axes, combinations, tolerances } = logProbTable;
    const sizes = Object.values(axes).map((choices) => Object.keys(choices).length);
    expect(combinations).toHaveLength(sizes.reduce((a, b) => a * b, 1));
    expect(combinations.every(({ refusal: reason }) => reason === null)).toBe(true);
    expect(tolerances[2]).toMatchObject(forwardTolerances.vocabMean);
  });
});
