import { combine, type KernelTable, type Refusal } from "./kernelTable.js";
import { forwardTolerances, temperatures } from "./logProbTable.js";

/** What hidden states and the head's weight are stored in. Logits and sums are f32. */
export const operandTypes = {
  f32: "32-bit floats",
  bf16: "bfloat16, widened exactly where it is multiplied",
  f16: "half precision, likewise",
} as const;

export type OperandType = keyof typeof operandTypes;

export function refuseOperands(hidden: OperandType, weight: OperandType): Refusal | null {
  return hidden === weight
    ? null
    : { reason: "a head multiplies operands of one dtype", nearest: `weight: "${hidden}"` };
}

/**
 * How many roundings lie on a product's longest way: additions within a block of `block` terms and of
 * blocks on the CPU, one chain on CUDA (native/gemm/gemm.h).
 */
export function roundings(terms: number, device: "cpu" | "cuda" | "emulated"): number {
  const block = 256;
  return device === "cpu" ? Math.min(terms, block) + Math.ceil(terms / block) : terms;
}

const axes = { hidden: operandTypes, weight: operandTypes, temperature: temperatures } as const;

const n = "n = min(K, 256) + K / 256 on the CPU, K on CUDA, for a sum of K terms";

export const linearLogProbTable: KernelTable = {
  family: "linear-log-prob",
  summary:
    "log-prob of one target per row of hidden states under a linear head, without its logits",
  source:
    "chunked loss, Liger Kernel (Hsu et al. 2024), section 3.2; statistics carried over tiles of the vocabulary, Cut Cross-Entropy (Wijmans et al. 2024), section 4",
  axes,
  combinations: combine(axes, (c) =>
    refuseOperands(c.hidden as OperandType, c.weight as OperandType),
  ),
  tolerances: [
    {
      of: "logits",
      cpu: 2 ** -24,
      cuda: 2 ** -24,
      relativeTo: `n times the sum of |h w|, ${n}`,
    },
    {
      of: "log-prob and entropy, for these logits",
      ...forwardTolerances.logProb,
      relativeTo: "10 + max |z|, z = logits / temperature",
    },
    {
      of: "d hidden and d weight, for these d logits",
      cpu: 2 ** -24,
      cuda: 2 ** -24,
      relativeTo: `n times the sum of absolute terms, ${n}`,
    },
  ],
};
