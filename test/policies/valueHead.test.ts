import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { random } from "../../src/nn/random.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import type { TokenConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { temporaryFolder } from "../folders.js";
import { awkward, floats, gradients, plain, policyOf, row, rows } from "./rows.js";

const engine = new Engine();
afterAll(() => engine.dispose());

const code = (code: string) => expect.objectContaining({ code });

/** A policy whose value head does not stand at its zeros. */
function valued(config: TokenConfig, seed = 1): TokenPolicy {
  const policy = policyOf(engine, { ...config, valueHead: true }, seed);
  const { value } = policy.parameters.find(({ name }) => name === "value_head.weight")!;
  if (config.dtype === "f32") {
    const { normal } = random([seed, 77]);
    value.write(Float32Array.from({ length: value.size }, () => 0.5 * normal()));
  }
  return policy;
}

const all = { temperature: 1.3, entropy: true, value: true, logits: true };
const kinds = ["logProb", "entropy", "value", "logits"] as const;

/** Fixed weights of every score: the loss is their weighted sum. */
function weightsOf(policy: TokenPolicy): Record<(typeof kinds)[number], Float32Array> {
  const scores = policy.score(rows, all);
  const entries = kinds.map((kind, i) => {
    const { normal } = random([11, i]);
    const { size } = scores[kind]!;
    scores[kind]!.dispose();
    return [kind, Float32Array.from({ length: size }, normal)] as const;
  });
  return Object.fromEntries(entries) as ReturnType<typeof weightsOf>;
}

const norm = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

describe.each([
  ["plain", plain],
  ["qk-norm, biases and tied embeddings", awkward],
])("values and logits: %s", (_, config) => {
  const policy = valued(config);
  const weights = weightsOf(policy);

  function backward(wanted: readonly (typeof kinds)[number][]): Map<string, Float32Array> {
    for (const { grad } of policy.parameters) grad.write(new Float32Array(grad.size));
    const scores = policy.forward(rows, all);
    const gradient = Object.fromEntries(
      wanted.map((kind) => [kind, engine.tensor(weights[kind], scores[kind]!.shape)]),
    );
    scores.backward(gradient);
    for (const tensor of Object.values(gradient)) tensor.dispose();
    return gradients(policy);
  }

  function loss(wanted: readonly (typeof kinds)[number][]): number {
    const scores = policy.score(rows, all);
    let sum = 0;
    for (const kind of wanted) {
      floats(scores[kind]).forEach((value, i) => {
        sum += weights[kind][i]! * value;
      });
    }
    for (const kind of kinds) scores[kind]!.dispose();
    return sum;
  }

  it.each([
    ["values alone", ["value"] as const],
    ["logits alone", ["logits"] as const],
    ["everything at once", kinds],
  ])("the gradient of %s agrees with central differences", (_, wanted) => {
    const analytic = backward(wanted);
    for (const { name, value } of policy.parameters) {
      const g = analytic.get(name)!;
      const size = norm(g);
      if (name === "lm_head.weight" && wanted.length === 1 && wanted[0] === "value") {
        expect(size).toBe(0);
        continue;
      }
      if (name.startsWith("value_head.") && !wanted.includes("value" as never)) {
        expect(size).toBe(0);
        continue;
      }
      const x = value.readSync() as Float32Array;
      // Along the gradient itself, the slope is its norm. Steps and bound as in gradients.test.ts.
      const slope = (h: number) => {
        const at = (sign: number) => {
          value.write(x.map((xi, i) => xi + (sign * h * g[i]!) / size));
          return loss(wanted);
        };
        return (at(1) - at(-1)) / (2 * h);
      };
      const h = 0.0125;
      const difference = (4 * slope(h) - slope(2 * h)) / 3;
      value.write(x);
      expect(Math.abs(difference - size), name).toBeLessThan(2e-3 + 2e-3 * size);
    }
  });

  it("a score without a gradient takes no part", () => {
    const both = backward(["logProb", "value"]);
    const [one, other] = [backward(["logProb"]), backward(["value"])];
    for (const [name, grad] of both) {
      const difference = grad.map((g, i) => g - one.get(name)![i]! - other.get(name)![i]!);
      expect(norm(difference), name).toBeLessThan(1e-5 * (norm(grad) + 1));
    }
  });

  it("leaves no memory behind", () => {
    const before = engine.memory().live;
    backward(kinds);
    loss(kinds);
    policy.forward(rows, all).dispose();
    expect(engine.memory().live).toBe(before);
  });
});

describe("scores that were not there before", () => {
  it("a row's values and logits are the same bits in any batch", () => {
    const policy = valued(awkward);
    const whole = policy.score(rows, all);
    const alone = policy.score([rows[4]!], all);
    const [begin, end] = [whole.rowOffsets[4]!, whole.rowOffsets[5]!];
    expect(floats(alone.value)).toEqual(floats(whole.value).slice(begin, end));
    expect(floats(alone.logits)).toEqual(floats(whole.logits).slice(begin * 11, end * 11));
  });

  it("logits are those of the log-probs, before the temperature", () => {
    const policy = valued(plain);
    const { logProb, logits } = policy.score([row([1, 2], [3])], { temperature: 2, logits: true });
    const z = [...floats(logits)].map((value) => value / 2);
    const total = Math.log(z.reduce((sum, value) => sum + Math.exp(value), 0));
    expect(floats(logProb)[0]).toBeCloseTo(z[3]! - total, 5);
  });

  it("are refused where there is no value head, or where they were not asked for", () => {
    const without = policyOf(engine, plain);
    expect(() => without.score(rows, { value: true })).toThrow(code("ERR_OPTION"));
    const scores = valued(plain).forward([row([1], [2])]);
    const d = engine.tensor([1]);
    expect(() => scores.backward({ value: d })).toThrow(/no value was asked for/);
    expect(() => scores.backward({ logProb: scores.logProb })).toThrow(/memory of its own/);
    scores.dispose();
  });

  it("in bf16: values and gradients are f32", () => {
    const narrow = policyOf(engine, { ...plain, valueHead: true, dtype: "bf16" });
    const scores = narrow.forward(rows, { value: true });
    const { size, dtype } = scores.value!;
    expect(dtype).toBe("f32");
    scores.backward({ value: engine.tensor(new Float32Array(size).fill(1)) });
    expect(gradients(narrow).get("value_head.bias")![0]).toBe(size);
    expect(norm(gradients(narrow).get("value_head.weight")!)).toBeGreaterThan(0);
  });
});

describe("a value head in a folder", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await temporaryFolder();
  });

  it("is stored and found again", async () => {
    const policy = valued(awkward);
    await policy.save(directory);
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    expect(config.value_head).toBe(true);
    const { tensors } = await readSafetensors(join(directory, "model.safetensors"));
    expect(tensors.get("value_head.weight")!.shape).toEqual([1, 18]);
    expect(tensors.get("value_head.bias")!.shape).toEqual([1]);
    const opened = await TokenPolicy.open(engine, directory);
    expect(floats(opened.score(rows, { value: true }).value)).toEqual(
      floats(policy.score(rows, { value: true }).value),
    );
  });

  it("is fresh where it is asked for and missing: values are 0, log-probs the same bits", async () => {
    const without = policyOf(engine, plain);
    await without.save(directory);
    const opened = await TokenPolicy.open(engine, directory, { valueHead: true });
    expect(opened.valueHead).toBe(true);
    const { value, logProb } = opened.score(rows, { value: true });
    expect(new Set(floats(value))).toEqual(new Set([0]));
    expect(floats(logProb)).toEqual(floats(without.score(rows).logProb));
  });

  it("is left out where one of two policies has none", async () => {
    const [head, without] = [valued(plain, 1), policyOf(engine, plain, 2)];
    const before = floats(head.parameters.at(-2)!.value);
    await without.save(directory);
    await head.load(directory);
    expect(floats(head.score(rows).logProb)).toEqual(floats(without.score(rows).logProb));
    expect(floats(head.parameters.at(-2)!.value)).toEqual(before);
    const other = valued(plain, 3);
    await other.save(directory);
    await without.load(directory);
    expect(floats(without.score(rows).logProb)).toEqual(floats(other.score(rows).logProb));
  });
});
