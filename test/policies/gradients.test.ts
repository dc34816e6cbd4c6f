import { afterAll, describe, expect, it } from "vitest";
import type { PolicyRow } from "../../src/contract/index.js";
import { Engine } from "../../src/engine/engine.js";
import { random } from "../../src/nn/random.js";
import type { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import {
  awkward,
  floats,
  gradients,
  plain,
  policyOf,
  row,
  rows,
  values,
  zeroGradients,
} from "./rows.js";

const engine = new Engine();
afterAll(() => engine.dispose());

const options = { temperature: 1.3, entropy: true };
const actions = rows.reduce((sum, { actions }) => sum + actions.length, 0);

/** Fixed weights of every log-prob and entropy: the loss is their weighted sum. */
function weights(seed: number): Float32Array {
  const { normal } = random([seed, 0]);
  return Float32Array.from({ length: actions }, normal);
}
const [dLogProb, dEntropy] = [weights(1), weights(2)];

/** In float64 from the device's float32 log-probs. */
function loss(policy: TokenPolicy): number {
  const scores = policy.score(rows, options);
  const [logProb, entropy] = [floats(scores.logProb), floats(scores.entropy)];
  scores.logProb.dispose();
  scores.entropy!.dispose();
  let sum = 0;
  for (let t = 0; t < actions; ++t) sum += dLogProb[t]! * logProb[t]! + dEntropy[t]! * entropy[t]!;
  return sum;
}

function backward(
  policy: TokenPolicy,
  batch: readonly PolicyRow[],
  d: Float32Array,
  h: Float32Array | null,
): void {
  const scores = policy.forward(batch, { ...options, entropy: h !== null });
  const gradient = {
    logProb: engine.tensor(d),
    entropy: h === null ? null : engine.tensor(h),
  };
  scores.backward(gradient);
  gradient.logProb.dispose();
  gradient.entropy?.dispose();
}

function norm(x: Float32Array): number {
  return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
}

describe.each([
  ["plain", plain],
  ["qk-norm, biases and tied embeddings", awkward],
])("the gradient of a transformer: %s", (_, config) => {
  const policy = policyOf(engine, config);
  backward(policy, rows, dLogProb, dEntropy);
  const analytic = gradients(policy);
  const names = policy.parameters.map(({ name }) => name);

  it("has every parameter of the architecture", () => {
    const perLayer = 9 + (config.attentionBias ? 3 : 0) + (config.qkNorm ? 2 : 0);
    expect(names.length).toBe(2 * perLayer + (config.tieWordEmbeddings ? 2 : 3));
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(names)("agrees with central differences: %s", (name) => {
    const { value } = policy.parameters.find((parameter) => parameter.name === name)!;
    const g = analytic.get(name)!;
    const x = value.readSync() as Float32Array;
    const size = norm(g);
    // A key's bias shifts all scores of a query alike unless positions rotate it: small, not zero.
    expect(size).toBeGreaterThan(1e-3);
    const { normal } = random([3, g.length]);
    const directions = [
      g.map((value) => value / size),
      ...Array.from({ length: 3 }, () => {
        const d = g.map(() => normal());
        const length = norm(d);
        return d.map((value) => value / length);
      }),
    ];
    for (const d of directions) {
      // Float32 log-probs carry about 1e-6 each, so 5e-6 in the sum: over 2 h an error of 4e-4 at
      // this step. Truncation grows with h^2, so two steps are combined to order h^4 (Richardson).
      const slope = (h: number) => {
        const at = (sign: number) => {
          value.write(x.map((xi, i) => xi + sign * h * d[i]!));
          return loss(policy);
        };
        return (at(1) - at(-1)) / (2 * h);
      };
      const h = 0.0125;
      const difference = (4 * slope(h) - slope(2 * h)) / 3;
      value.write(x);
      const expected = g.reduce((sum, gi, i) => sum + gi * d[i]!, 0);
      expect(Math.abs(difference - expected)).toBeLessThan(2e-3 + 1e-3 * Math.abs(expected));
    }
  });
});

describe.each([
  ["plain", plain],
  ["qk-norm, biases and tied embeddings", awkward],
])("bf16: %s", (_, config) => {
  // The same weights, those of bf16 exactly, with activations of 32 and of 16 bits.
  const narrow = policyOf(engine, { ...config, dtype: "bf16" });
  const wide = policyOf(engine, config);
  for (const [i, { value }] of wide.parameters.entries()) {
    value.write(values(narrow.parameters[i]!.value));
  }

  it("gives log-probs of bf16 activations", () => {
    const [a, b] = [narrow, wide].map((policy) => floats(policy.score(rows, options).logProb));
    expect(a).not.toEqual(b);
    // Half a dozen roundings to 8 bits in a row, of activations near 1, each of some 2^-9.
    expect(norm(a!.map((x, i) => x - b![i]!))).toBeLessThan(0.02 * norm(b!));
  });

  it("gives float32 gradients that are close to those of float32 activations", () => {
    const [a, b] = [narrow, wide].map((policy) => {
      backward(policy, rows, dLogProb, dEntropy);
      return gradients(policy);
    });
    for (const [name, grad] of b!) {
      const difference = a!.get(name)!.map((value, i) => value - grad[i]!);
      expect(norm(difference), name).toBeLessThan(0.05 * norm(grad));
    }
  });

  it("leaves no memory behind", () => {
    const before = engine.memory().live;
    backward(narrow, rows, dLogProb, dEntropy);
    narrow.forward(rows, options).dispose();
    loss(narrow);
    expect(engine.memory().live).toBe(before);
  });
});

describe("gradients", () => {
  it("add up over micro-batches to those of the whole batch", () => {
    const policy = policyOf(engine, awkward);
    backward(policy, rows, dLogProb, dEntropy);
    const whole = gradients(policy);
    zeroGradients(policy);
    let begin = 0;
    for (const part of [rows.slice(0, 2), rows.slice(2, 3), rows.slice(3)]) {
      const end = begin + part.reduce((sum, { actions }) => sum + actions.length, 0);
      backward(policy, part, dLogProb.slice(begin, end), dEntropy.slice(begin, end));
      begin = end;
    }
    for (const [name, grad] of gradients(policy)) {
      const difference = grad.map((value, i) => value - whole.get(name)![i]!);
      // Float32 sums in another order.
      expect(norm(difference)).toBeLessThan(1e-5 * norm(whole.get(name)!));
    }
  });

  it("do not see masked actions, whatever their weight", () => {
    const policy = policyOf(engine, plain);
    const masked = [row([1, 2], [3, 4, 5, 6], [1, 0, 1, 0])];
    backward(policy, masked, Float32Array.of(1, Number.NaN, 2, Infinity), null);
    const seen = gradients(policy);
    zeroGradients(policy);
    backward(policy, [row([1, 2], [3, 4, 5, 6])], Float32Array.of(1, 0, 2, 0), null);
    for (const [name, grad] of gradients(policy)) expect(seen.get(name)).toEqual(grad);
  });

  it("are the same bits at one thread and at two", () => {
    const runs = [1, 2].map((threads) => {
      const own = new Engine({ threads });
      const policy = policyOf(own, awkward);
      // Enough rows that the work is really split.
      const many = Array.from({ length: 40 }, () => rows).flat();
      const scores = policy.forward(many, options);
      const logProb = floats(scores.logProb);
      const d = Float32Array.from({ length: logProb.length }, (_, i) => dLogProb[i % actions]!);
      scores.backward({ logProb: own.tensor(d), entropy: own.tensor(d) });
      const result = { logProb, grads: gradients(policy) };
      own.dispose();
      return result;
    });
    expect(runs[0]!.logProb).toEqual(runs[1]!.logProb);
    expect(runs[0]!.grads).toEqual(runs[1]!.grads);
  });

  it("leave no memory behind, with backward and without", () => {
    const policy = policyOf(engine, awkward);
    backward(policy, rows, dLogProb, dEntropy);
    const before = engine.memory().live;
    backward(policy, rows, dLogProb, dEntropy);
    policy.forward(rows, options).dispose();
    loss(policy);
    expect(engine.memory().live).toBe(before);
  });

  it("are taken once", () => {
    const policy = policyOf(engine, plain);
    const scores = policy.forward(rows);
    const logProb = engine.tensor(dLogProb);
    const wrong = engine.tensor(new Float32Array(actions + 1));
    const code = (code: string) => expect.objectContaining({ code });
    expect(() => scores.backward({ logProb: wrong })).toThrow(code("ERR_SHAPE"));
    expect(() => scores.backward({ logProb, entropy: logProb })).toThrow(code("ERR_OPTION"));
    scores.backward({ logProb });
    expect(() => scores.backward({ logProb })).toThrow(code("ERR_DISPOSED"));
  });
});
