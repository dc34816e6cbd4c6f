import { combine, type KernelTable, type Refusal } from "./kernelTable.js";
import { forwardTolerances, temperatures } from "./logProbTable.js";

/** What hidden states and the head's weight are stored in. Logits and sums are f32. */
export const operandTypes = {
  f32: "32-bit floats",
  bf16: "bfloat16, multiplied exactly",
  f16: "half precision, likewise",
} as const;

export type OperandType = keyof typeof operandTypes;

export function refuseOperands(hidden: OperandType, weight: OperandType): Refusal | null {
  return hidden === weight
    ? null
    : { reason: "a head multiplies operands of one dtype", nearest: `weight: "${hidden}"` };
}

export type Product = "logits" | "gradient";

/**
 * What the product of two matrices may be off by, relative to the sum of its absolute terms, in units of
 * 2^-24 (native/gemm/gemm.h). On the CPU additions within a block of 256 terms and of blocks; on CUDA one
 * chain, whose additions cost four times as much on tensor cores. With bf16 operands the gradients'
 * products go there too, with each d logit as the sum of two bf16.
 */
export function roundings(
  terms: number,
  dtype: OperandType,
  product: Product,
  device: "cpu" | "cuda" | "emulated",
): number {
  const block = 256;
  if (device === "cpu") return Math.min(terms, block) + Math.ceil(terms / block);
  if (product === "logits") return dtype === "f32" ? terms : 4 * terms;
  return dtype === "bf16" ? 2 ** 8 + 8 * terms : terms;
}

const axes = { hidden: operandTypes, weight: operandTypes, temperature: temperatures } as const;

const n = "min(K, 256) + K / 256 on the CPU";

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
      relativeTo: `n times the sum of the K terms |h w|, n = ${n}; on CUDA K, of 16-bit operands 4 K`,
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
      relativeTo: `n times the sum of the K absolute terms, n = ${n}; on CUDA K, of bf16 operands 256 + 8 K`,
    },
  ],
};
