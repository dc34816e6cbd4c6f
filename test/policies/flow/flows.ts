import type { Prompt, SampleRequest, Trajectory } from "../../../src/contract/index.js";
import type { Engine } from "../../../src/engine/engine.js";
import type { Tensor } from "../../../src/engine/tensor.js";
import { deriveStream, random } from "../../../src/nn/random.js";
import type { FlowConfig } from "../../../src/policies/flow/config.js";
import { FlowPolicy } from "../../../src/policies/flow/flowPolicy.js";
import { type FlowSetting, flowMean, flowStd } from "../../../src/reference/flowStep.js";

/** Sizes that fill no vector register. */
export const small: FlowConfig = {
  width: 3,
  conditionWidth: 5,
  hiddenSize: 13,
  numLayers: 2,
  shift: 1,
};

/** A policy whose biases are not at their starting value. */
export function policyOf(engine: Engine, config: FlowConfig = small, seed = 1): FlowPolicy {
  const policy = FlowPolicy.create(engine, config, { seed });
  for (const [i, { value }] of policy.parameters.entries()) {
    if (value.shape.length > 1) continue;
    const { normal } = random([seed, i]);
    value.write(Float32Array.from({ length: value.size }, () => 0.3 * normal()));
  }
  return policy;
}

export function prompt(condition: unknown, id = `${condition}`): Prompt {
  return { id, messages: [], tokens: new Int32Array(0), label: null, columns: { condition } };
}

export function request(given: Partial<SampleRequest> & Pick<SampleRequest, "prompts" | "counts">) {
  return {
    streams: given.counts.flatMap((count, p) =>
      Array.from({ length: count }, (_, i) => deriveStream(7, p, i)),
    ),
    temperature: 1,
    maxCompletionLength: 6,
    greedy: false,
    stop: [],
    hook: null,
    signal: null,
    ...given,
  } satisfies SampleRequest;
}

export function flowOf({ actions }: Trajectory) {
  if (actions.kind !== "flow") throw new Error("not a flow");
  return actions;
}

export function logProbs({ columns }: Trajectory): Float32Array {
  const column = columns.samplerLogProb!;
  return column.level === "action" ? column.values : new Float32Array(0);
}

export function floats(tensor: unknown): Float32Array {
  return (tensor as Tensor).readSync() as Float32Array;
}

/** The weights of a policy by name, in float64. */
export type Weights = Map<string, Float64Array>;

export function weightsOf(policy: FlowPolicy): Weights {
  return new Map(
    policy.parameters.map(({ name, value }) => [name, Float64Array.from(floats(value))]),
  );
}

/** The network as written down, in float64: one state, time and condition to a velocity. */
export function velocity(
  weights: Weights,
  config: FlowConfig,
  state: ArrayLike<number>,
  t: number,
  condition: ArrayLike<number>,
): number[] {
  const time = [Math.PI * t, 2 * Math.PI * t].flatMap((a) => [Math.sin(a), Math.cos(a)]);
  let x = [...Array.from(state), t, ...time, ...Array.from(condition)];
  for (let layer = 0; layer <= config.numLayers; ++layer) {
    const name = layer < config.numLayers ? `layers.${layer}` : "output";
    const [weight, bias] = [weights.get(`${name}.weight`)!, weights.get(`${name}.bias`)!];
    const input = x;
    x = [...bias].map((b, o) =>
      input.reduce((sum, value, i) => sum + value * weight[o * input.length + i]!, b),
    );
    if (layer < config.numLayers) x = x.map((value) => value / (1 + Math.exp(-value)));
  }
  return x;
}

export function oneHot(condition: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) => (i === condition ? 1 : 0));
}

/** Mean, std and log-prob of a stored step, in float64. */
export function referenceStep(
  weights: Weights,
  config: FlowConfig,
  trajectory: Trajectory,
  step: number,
): { mean: number[]; std: number; logProb: number } {
  const { states, sigmas, noise, noiseLevels } = flowOf(trajectory);
  const { width } = config;
  const at = (i: number) => [...states.subarray(i * width, (i + 1) * width)];
  const [sigma, sigmaNext] = [sigmas[step]!, sigmas[step + 1]!];
  const { condition } = trajectory.prompt.columns;
  const features = oneHot(condition as number, config.conditionWidth);
  const setting: FlowSetting = {
    kind: noise,
    noiseLevel: noiseLevels[step]!,
    sigmaMax: sigmas[1]!,
  };
  const x = at(step);
  const v = velocity(weights, config, x, sigma, features);
  const mean = x.map((xd, d) => flowMean({ x: xd, v: v[d]!, sigma, sigmaNext }, setting));
  const std = flowStd(sigma, sigmaNext, setting);
  const errors = at(step + 1).map((next, d) => next - mean[d]!);
  const square = errors.reduce((sum, e) => sum + e * e, 0) / width;
  const density = -square / (2 * std * std) - Math.log(std * Math.sqrt(2 * Math.PI));
  return { mean, std, logProb: noise === "cps" ? -square : density };
}
