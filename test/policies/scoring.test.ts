import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { awkward, floats, plain, policyOf, row, rows } from "./rows.js";
import { logitsOf } from "./transformerReference.js";

const engine = new Engine();
afterAll(() => engine.dispose());

describe.each([
  ["plain", plain],
  ["qk-norm, biases and tied embeddings", awkward],
])("log-probs and entropy of a transformer: %s", (_, config) => {
  it.each([1, 0.4])("agree with float64 at temperature %s", (temperature) => {
    const policy = policyOf(engine, config);
    const weights = new Map(policy.parameters.map(({ name, value }) => [name, floats(value)]));
    const scores = policy.score(rows, { temperature, entropy: true });
    const [logProb, entropy] = [floats(scores.logProb), floats(scores.entropy)];
    for (const [r, { prompt, actions }] of rows.entries()) {
      const ids = actions.kind === "tokens" ? [...actions.ids] : [];
      const logits = logitsOf(weights, config, [...prompt.tokens, ...ids]);
      for (const [i, id] of ids.entries()) {
        const after = (prompt.tokens.length - 1 + i) * config.vocabSize;
        const z = logits.subarray(after, after + config.vocabSize).map((x) => x / temperature);
        const total = Math.log(z.reduce((sum, value) => sum + Math.exp(value), 0));
        const t = scores.rowOffsets[r]! + i;
        // Two layers of float32 sums of at most 24 terms of order 1.
        expect(Math.abs(logProb[t]! - (z[id]! - total))).toBeLessThan(1e-5 / temperature);
        const expected = z.reduce(
          (sum, value) => sum - Math.exp(value - total) * (value - total),
          0,
        );
        expect(Math.abs(entropy[t]! - expected)).toBeLessThan(1e-5 / temperature);
      }
    }
  });
});

describe("score", () => {
  const policy = policyOf(engine, awkward);

  it("gives a row the same bits in any company", () => {
    const all = policy.score(rows, { entropy: true });
    const [logProb, entropy] = [floats(all.logProb), floats(all.entropy)];
    expect([...all.rowOffsets]).toEqual([0, 5, 6, 9, 9, 19]);
    for (const [r, alone] of rows.entries()) {
      const bounds = [all.rowOffsets[r]!, all.rowOffsets[r + 1]!] as const;
      const scores = policy.score([alone], { entropy: true });
      expect(floats(scores.logProb)).toEqual(logProb.slice(...bounds));
      expect(floats(scores.entropy)).toEqual(entropy.slice(...bounds));
    }
  });

  it("gives probabilities: all first actions together have 1", () => {
    const first = Array.from({ length: 11 }, (_, id) => row([1, 2, 3], [id]));
    const { logProb } = policy.score(first, { temperature: 0.5 });
    const total = floats(logProb).reduce((sum, value) => sum + Math.exp(value), 0);
    expect(total).toBeCloseTo(1, 5);
  });

  it("is causal: later actions do not change earlier log-probs", () => {
    const a = floats(policy.score([row([1, 2], [3, 4, 5])]).logProb);
    const b = floats(policy.score([row([1, 2], [3, 4, 9, 9, 9])]).logProb);
    expect(b.slice(0, 2)).toEqual(a.slice(0, 2));
    expect(floats(policy.score([row([2, 1], [3, 4, 5])]).logProb)[0]).not.toBe(a[0]);
  });

  it("is what forward gives", () => {
    const scores = policy.forward(rows, { temperature: 0.7, entropy: true });
    const again = policy.score(rows, { temperature: 0.7, entropy: true });
    expect(floats(scores.logProb)).toEqual(floats(again.logProb));
    expect(floats(scores.entropy)).toEqual(floats(again.entropy));
    scores.dispose();
  });

  it("gives masked actions log-prob 0 and scores the others as ever", () => {
    const whole = floats(policy.score([row([1, 2], [3, 4, 5])]).logProb);
    const masked = floats(policy.score([row([1, 2], [3, 4, 5], [1, 0, 1])]).logProb);
    expect([...masked]).toEqual([whole[0], 0, whole[2]]);
  });

  it("takes no rows, and rows without actions", () => {
    for (const empty of [[], [row([1], [])]]) {
      const scores = policy.score(empty, { entropy: true });
      expect(scores.logProb.size).toBe(0);
      expect(scores.entropy!.size).toBe(0);
      expect(floats(scores.logProb).length).toBe(0);
    }
    const differentiable = policy.forward([]);
    differentiable.backward({ logProb: engine.tensor([]) });
  });

  it.each([
    ["an empty prompt", row([], [1]), "ERR_RANGE", "rows[0].prompt"],
    ["a token past the vocabulary", row([11], [1]), "ERR_RANGE", "ids[0]"],
    ["a negative action", row([1], [2, -1]), "ERR_RANGE", "actions[1]"],
    ["too long a row", row(Array(60).fill(1), Array(5).fill(1)), "ERR_RANGE", "rows[0]"],
    ["a mask of another length", row([1], [2, 3], [1]), "ERR_SHAPE", "rows[0].mask"],
    [
      "actions that are not tokens",
      { ...row([1], []), actions: { kind: "graph", length: 0, edges: new Uint8Array(0) } as const },
      "ERR_OPTION",
      "rows[0].actions",
    ],
  ])("refuses %s", (_, bad, code, name) => {
    const before = engine.memory().live;
    for (const call of [() => policy.score([bad]), () => policy.forward([bad])]) {
      expect(call).toThrow(
        expect.objectContaining({ code, message: expect.stringContaining(name) }),
      );
    }
    expect(engine.memory().live).toBe(before);
  });

  it("refuses unknown and wrong options", () => {
    expect(() => policy.score(rows, { temprature: 1 } as object)).toThrow("temperature");
    expect(() => policy.score(rows, { temperature: 0 })).toThrow("temperature");
    expect(() => policy.score(rows, { temperature: Number.NaN })).toThrow("temperature");
  });
});

describe("values and logits", () => {
  it("are the heads of the same hidden states, and both learn from it", () => {
    const policy = policyOf(engine, { ...plain, valueHead: true });
    const of = (name: string) => policy.parameters.find((parameter) => parameter.name === name)!;
    // A value head that is the first row of the output projection gives the first token's logit.
    const head = floats(of("lm_head.weight").value);
    of("value_head.weight").value.write(head.slice(0, plain.hiddenSize));
    of("value_head.bias").value.write([0.5]);
    const scores = policy.forward(rows, { value: true, logits: true });
    const [value, logits] = [floats(scores.value), floats(scores.logits)];
    expect(value).toHaveLength(logits.length / plain.vocabSize);
    value.forEach((v, t) => {
      expect(Math.abs(v - 0.5 - logits[t * plain.vocabSize]!)).toBeLessThan(1e-5);
    });
    scores.backward({ value: engine.tensor(new Float32Array(value.length).fill(1)) });
    expect(floats(of("value_head.bias").grad)[0]).toBe(value.length);
    expect(Math.max(...floats(of("model.embed_tokens.weight").grad))).toBeGreaterThan(0);
    expect(new Set(floats(of("lm_head.weight").grad))).toEqual(new Set([0]));
  });
});

describe("clone", () => {
  it("has the same weights and goes its own way", () => {
    const policy = policyOf(engine, plain);
    const copy = policy.clone();
    const before = floats(policy.score(rows).logProb);
    expect(floats(copy.score(rows).logProb)).toEqual(before);
    for (const { value } of policy.parameters) value.write(new Float32Array(value.size));
    expect(floats(copy.score(rows).logProb)).toEqual(before);
    expect(floats(policy.score(rows).logProb)).not.toEqual(before);
  });
});
