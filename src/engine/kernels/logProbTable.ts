import { combine, type KernelTable } from "./kernelTable.js";

/** What logits are stored in. */
export const logitTypes = {
  f32: "32-bit floats",
  bf16: "bfloat16, widened exactly; gradients rounded once, to nearest",
  f16: "half precision, likewise",
} as const;

/** What a call returns beside the log-probs and the statistics of the rows. */
export const extras = {
  none: "nothing",
  entropy: "-sum over v of p_v log p_v, in nats, with gradient",
  vocabMean: "mean over v of log p_v, with gradient",
  both: "entropy and vocabMean",
} as const;

export const temperatures = {
  scalar: "one number divides all logits",
  row: "f32 [T], one a row",
} as const;

export const vocabularies = {
  whole: "a row's logits in one call",
  sharded: "logProbPartial on each shard's columns, then logProbMerge in rank order",
} as const;

const axes = {
  logits: logitTypes,
  extras,
  temperature: temperatures,
  vocabulary: vocabularies,
} as const;

/** |error| of a forward output is at most this share of 10 + max |z|, z = logits / temperature. */
export const forwardTolerances = {
  logProb: { cpu: 2e-7, cuda: 2e-7 },
  entropy: { cpu: 2e-7, cuda: 2e-7 },
  // CUDA adds up at most 24 logits in float before float64: five roundings.
  vocabMean: { cpu: 2e-7, cuda: 5e-7 },
} as const;

const relativeTo = "10 + max |z|, z = logits / temperature";

export const logProbTable: KernelTable = {
  family: "log-prob",
  summary: "log-prob of one target per row of logits, with entropy, vocabulary mean and gradients",
  source:
    "softmax statistics online, Milakov and Gimelshein 2018; shards of a vocabulary, Shoeybi et al. 2019 (Megatron-LM), section 3; vocabulary mean, He et al. 2025 (ROVER)",
  axes,
  combinations: combine(axes, () => null),
  tolerances: [
    { of: "log-prob", ...forwardTolerances.logProb, relativeTo },
    { of: "entropy", ...forwardTolerances.entropy, relativeTo },
    { of: "vocabulary mean", ...forwardTolerances.vocabMean, relativeTo },
    {
      of: "d logits, before their rounding to the dtype",
      cpu: 6e-7,
      cuda: 6e-7,
      relativeTo: "the sum of absolute terms times 1 + |log p| / 2, over temperature",
    },
  ],
};
