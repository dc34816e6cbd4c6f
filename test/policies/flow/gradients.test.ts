import { afterAll, describe, expect, test } from "vitest";
import type { Trajectory } from "../../../src/contract/index.js";
import { Engine } from "../../../src/engine/engine.js";
import { random } from "../../../src/nn/random.js";
import type { FlowPolicy } from "../../../src/policies/flow/flowPolicy.js";
import {
  floats,
  oneHot,
  policyOf,
  prompt,
  referenceStep,
  request,
  small,
  velocity,
  type Weights,
  weightsOf,
} from "./flows.js";

const engine = new Engine();
afterAll(() => engine.dispose());

function zeroGradients(policy: FlowPolicy): void {
  for (const { grad } of policy.parameters) grad.write(new Float32Array(grad.size));
}

/** Central differences in float64 along random directions of every parameter. */
function expectGradients(policy: FlowPolicy, loss: (weights: Weights) => number): void {
  const weights = weightsOf(policy);
  for (const [index, { name, grad }] of policy.parameters.entries()) {
    const g = floats(grad);
    expect(Math.hypot(...g), name).toBeGreaterThan(1e-3);
    const { normal } = random([11, index]);
    for (let k = 0; k < 3; ++k) {
      const direction = Float64Array.from({ length: g.length }, normal);
      const at = (h: number) => {
        const moved = new Map(weights);
        moved.set(
          name,
          weights.get(name)!.map((w, i) => w + h * direction[i]!),
        );
        return loss(moved);
      };
      const difference = (at(1e-4) - at(-1e-4)) / 2e-4;
      const expected = g.reduce((sum, gi, i) => sum + gi * direction[i]!, 0);
      const scale = g.reduce((sum, gi, i) => sum + Math.abs(gi * direction[i]!), 0);
      // Float32 carries 1e-7 of each part; two layers and a step multiply it by a few hundred.
      expect(Math.abs(difference - expected), name).toBeLessThan(5e-5 * scale);
    }
  }
}

const prompts = [0, 3].map((condition) => prompt(condition));

describe("the gradient of flow steps", () => {
  test.each(["sde", "constant-sde", "cps"] as const)(
    "%s: log-probs and means against central differences",
    async (noise) => {
      const policy = policyOf(engine);
      const flow = { noise, noiseLevel: [0.7, 0.7, 0, 0.4, 0.7, 0.7] };
      const sampled = await policy.sample(request({ prompts, counts: [2, 2], flow }));
      const rows: Trajectory[] = sampled.map((t, r) => ({
        ...t,
        mask: t.mask.map((trained, i) => (r === 1 && i === 1 ? 0 : trained)),
      }));
      const { normal } = random([3, 3]);
      const dLogProb = Float32Array.from({ length: 24 }, normal);
      const dMean = Float32Array.from({ length: 24 * small.width }, normal);
      zeroGradients(policy);
      const scores = policy.forward(rows, { mean: true });
      const gradient = { logProb: engine.tensor(dLogProb), mean: engine.tensor(dMean, [24, 3]) };
      scores.backward(gradient);
      expectGradients(policy, (weights) => {
        let sum = 0;
        for (const [r, row] of rows.entries()) {
          for (const [i, trained] of row.mask.entries()) {
            if (trained === 0) continue;
            const { mean, logProb } = referenceStep(weights, small, row, i);
            const t = 6 * r + i;
            sum += dLogProb[t]! * logProb;
            for (const [d, value] of mean.entries()) sum += dMean[t * small.width + d]! * value;
          }
        }
        return sum;
      });
      policy.dispose();
    },
  );

  test("flow matching: the loss as written down, and its gradient", async () => {
    const policy = policyOf(engine);
    const demonstrations = [1, 4, 4].map((condition, i) => ({
      question: prompt(condition),
      target: Float32Array.of(i, -0.5, 0.25 * i),
    }));
    zeroGradients(policy);
    const loss = await policy.imitate(demonstrations, { stream: [9, 9], measure: true });
    const reference = (weights: Weights) => {
      const { uniform, normal } = random([9, 9]);
      let sum = 0;
      for (const { question, target } of demonstrations) {
        const t = uniform();
        const noise = Array.from({ length: 3 }, normal);
        const state = noise.map((z, d) => (1 - t) * target[d]! + t * z);
        const v = velocity(
          weights,
          small,
          state,
          t,
          oneHot(question.columns.condition as number, 5),
        );
        sum += v.reduce((s, value, d) => s + (value - (noise[d]! - target[d]!)) ** 2, 0) / 3;
      }
      return sum / demonstrations.length;
    };
    expect(loss).toBeCloseTo(reference(weightsOf(policy)), 5);
    expectGradients(policy, reference);
    expect(await policy.imitate(demonstrations, { stream: [9, 9], measure: false })).toBeNull();
    policy.dispose();
  });

  test("what is masked changes nothing, whatever stands there", async () => {
    const policy = policyOf(engine);
    const sampled = await policy.sample(request({ prompts, counts: [1, 1] }));
    const masked = sampled.map((t) => ({ ...t, mask: Uint8Array.of(1, 1, 0, 0, 0, 0) }));
    const broken = masked.map((t) => {
      if (t.actions.kind !== "flow") throw new Error("not a flow");
      const states = t.actions.states.map((value, i) => (i >= 9 ? Number.NaN : value));
      return { ...t, actions: { ...t.actions, states } };
    });
    const gradients = [masked, broken].map((rows) => {
      zeroGradients(policy);
      const scores = policy.forward(rows, { mean: true });
      const logProb = floats(scores.logProb);
      expect([...logProb.subarray(2, 6), ...floats(scores.mean).subarray(6, 18)]).toEqual(
        new Array(16).fill(0),
      );
      scores.backward({ logProb: engine.tensor(new Float32Array(12).fill(1)) });
      return [logProb, ...policy.parameters.map(({ grad }) => floats(grad))];
    });
    expect(gradients[1]).toEqual(gradients[0]);
    policy.dispose();
  });

  test("rows without any trained step score 0 and move nothing", async () => {
    const policy = policyOf(engine);
    const sampled = await policy.sample(request({ prompts, counts: [1, 1], greedy: true }));
    zeroGradients(policy);
    const scores = policy.forward(sampled);
    expect(floats(scores.logProb)).toEqual(new Float32Array(12));
    scores.backward({ logProb: engine.tensor(new Float32Array(12).fill(1)) });
    for (const { grad } of policy.parameters) expect(Math.hypot(...floats(grad))).toBe(0);
    expect(floats(policy.score([]).logProb)).toEqual(new Float32Array(0));
    policy.dispose();
  });

  test("scores and gradients leave no memory behind", async () => {
    const policy = policyOf(engine);
    zeroGradients(policy);
    const flow = { noiseLevel: [0.7, 0.7, 0, 0.4, 0.7, 0.7] };
    const sampled = await policy.sample(request({ prompts, counts: [2, 2], flow }));
    const gradient = {
      logProb: engine.tensor(new Float32Array(24).fill(1)),
      mean: engine.zeros([24, 3]),
    };
    const before = engine.memory().live;
    policy.forward(sampled, { mean: true }).backward(gradient);
    policy.forward(sampled, { mean: true }).backward({ logProb: gradient.logProb });
    policy.forward(sampled).dispose();
    const { logProb, mean } = policy.score(sampled, { mean: true });
    logProb.dispose();
    mean!.dispose();
    const target = Float32Array.of(1, 2, 3);
    await policy.imitate([{ question: prompts[0]!, target }], { stream: [1, 2], measure: true });
    expect(engine.memory().live).toBe(before);
    policy.dispose();
  });
});

describe("what cannot be scored is refused", () => {
  const policy = policyOf(engine);
  const good = async () => (await policy.sample(request({ prompts, counts: [1, 0] })))[0]!;

  test("other actions, other sizes, an entropy, a temperature, another kind beside", async () => {
    const row = await good();
    const actions = row.actions as Extract<Trajectory["actions"], { kind: "flow" }>;
    const tokens = { kind: "tokens" as const, length: 1, ids: Int32Array.of(1) };
    const cases: [object, RegExp][] = [
      [{ actions: tokens }, /Expected flow steps for rows\[0\]\.actions but received "tokens"/],
      [{ actions: { ...actions, width: 2 } }, /Expected 3 for the width of rows\[0\]\.actions/],
      [
        { actions: { ...actions, sigmas: new Float32Array(2) } },
        /7 values for rows\[0\]\.actions\.sigmas/,
      ],
      [{ mask: new Uint8Array(2) }, /one value per step \(6\) for rows\[0\]\.mask/],
    ];
    for (const [change, message] of cases) {
      expect(() => policy.score([{ ...row, ...change }])).toThrow(message);
    }
    const cps = { ...row, actions: { ...actions, noise: "cps" as const } };
    expect(() => policy.score([row, cps])).toThrow(/one kind for the noise of rows/);
    expect(() => policy.forward([row], { entropy: true })).toThrow(/weights do not move it/);
    expect(() => policy.score([row], { temperature: 2 })).toThrow(/has no logits/);
    const scores = policy.forward([row]);
    const seed = engine.zeros([6]);
    expect(() => scores.backward({ logProb: seed, mean: engine.zeros([6, 3]) })).toThrow(
      /no mean was asked for/,
    );
    expect(() => scores.backward({ logProb: engine.zeros([5]) })).toThrow(/f32 \[6\]/);
    scores.backward({ logProb: seed });
    expect(() => scores.backward({ logProb: seed })).toThrow(/have not been differentiated/);
  });

  test("a demonstration without a sample, or of another width", async () => {
    const how = { stream: [1, 1] as const, measure: false };
    const question = prompts[0]!;
    const text = policy.imitate([{ question, completion: "x" }], how);
    await expect(text).rejects.toThrow(/a sample of 3 elements for demonstrations\[0\]\.target/);
    const narrow = policy.imitate([{ question, target: Float32Array.of(1) }], how);
    await expect(narrow).rejects.toThrow(/received a Float32Array of 1/);
  });
});
