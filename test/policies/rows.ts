import type { PolicyRow, Prompt, SampleRequest } from "../../src/contract/index.js";
import type { Engine } from "../../src/engine/engine.js";
import { cast } from "../../src/engine/nn/elementwise.js";
import type { Tensor } from "../../src/engine/tensor.js";
import { deriveStream, random } from "../../src/nn/random.js";
import { type TokenConfig, tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";

/** Everything optional at once, and sizes that fill no vector register. */
export const awkward: TokenConfig = {
  ...tinyConfig(11),
  hiddenSize: 18,
  intermediateSize: 22,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 6,
  tieWordEmbeddings: true,
  qkNorm: true,
  attentionBias: true,
  maxLength: 64,
  initializerRange: 0.3,
};

/** Grouped queries, an output projection of its own. */
export const plain: TokenConfig = {
  ...awkward,
  tieWordEmbeddings: false,
  qkNorm: false,
  attentionBias: false,
};

export function prompt(id: string, tokens: readonly number[]): Prompt {
  const ids = Int32Array.from(tokens);
  return { id, messages: [], tokens: ids, label: null, columns: {} };
}

export function row(
  tokens: readonly number[],
  actions: readonly number[],
  mask?: readonly number[],
): PolicyRow {
  return {
    prompt: prompt("p", tokens),
    actions: { kind: "tokens", length: actions.length, ids: Int32Array.from(actions) },
    mask: mask && Uint8Array.from(mask),
  };
}

/** Rows of unequal length; one action, one prompt token, no action at all. */
export const rows = [
  row([1, 2, 3], [4, 5, 6, 7, 0]),
  row([9], [10]),
  row([3, 3, 3, 3, 3, 3, 3], [3, 1, 4]),
  row([5, 6], []),
  row([8, 2], [7, 7, 7, 7, 7, 7, 7, 7, 7, 1]),
];

export function request(given: Partial<SampleRequest> & Pick<SampleRequest, "prompts" | "counts">) {
  return {
    streams: given.counts.flatMap((count, p) =>
      Array.from({ length: count }, (_, i) => deriveStream(7, p, i)),
    ),
    temperature: 1,
    maxCompletionLength: 12,
    greedy: false,
    stop: [0, 1],
    hook: null,
    signal: null,
    ...given,
  } satisfies SampleRequest;
}

/** A policy whose biases and norms are not at their neutral starting values. */
export function policyOf(engine: Engine, config: TokenConfig, seed = 1): TokenPolicy {
  const policy = TokenPolicy.create(engine, config, { seed });
  for (const [i, { value }] of policy.parameters.entries()) {
    if (value.shape.length > 1) continue;
    const { normal } = random([seed, i]);
    const moved = values(value).map((x) => x + 0.3 * normal());
    cast(engine, moved, value.dtype as "f32", { out: value });
  }
  return policy;
}

/** What a tensor of 16 or 32 bits holds. */
export function values(tensor: Tensor): Float32Array {
  return cast(tensor.engine, tensor, "f32").readSync() as Float32Array;
}

export function floats(tensor: unknown): Float32Array {
  return (tensor as Tensor).readSync() as Float32Array;
}

export function gradients(policy: TokenPolicy): Map<string, Float32Array> {
  return new Map(policy.parameters.map(({ name, grad }) => [name, floats(grad)]));
}

export function zeroGradients(policy: TokenPolicy): void {
  for (const { grad } of policy.parameters) grad.write(new Float32Array(grad.size));
}
