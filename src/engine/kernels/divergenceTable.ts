import { FiresteelError } from "../error.js";
import { combine, type KernelTable, type Refusal } from "./kernelTable.js";

// The order of every list is the native numbering: scripts/generateTables.mjs writes it into
// native/kernels/divergence/kinds.h.

/** Divergence of one row: student distribution p, teacher distribution q, both over the outcomes. */
export const kinds = {
  forward: "KL(q || p) = sum q log(q / p)",
  reverse: "KL(p || q) = sum p log(p / q)",
  mixed: "weight KL(q || p) + (1 - weight) KL(p || q) (SD-Zero, arXiv 2604.12002; NeMo-RL kl_type)",
  jsd: "weight KL(q || m) + (1 - weight) KL(p || m), m = weight q + (1 - weight) p (GKD, Agarwal et al. 2024, eq. 1; TRL GKDTrainer, whose beta is weight)",
} as const;

/** Over which outcomes, and how far p and q are normalised. k: the teacher's tokens of the row. */
export const supports = {
  full: "the vocabulary, from teacher logits",
  renormalized: "the k tokens; p and q are both renormalised on them (SD-Zero)",
  tail: "the k tokens and one outcome for all others; teacher values are log-probs (TRL add_tail)",
  truncated:
    "the k tokens, without their share of the rest; teacher values are log-probs (verl forward_kl_topk)",
  floor:
    "the vocabulary; q is renormalised on the k tokens, log q = logFloor at all others (SD-Zero, NeMo-RL zero_outside_topk)",
} as const;

export type DivergenceKind = keyof typeof kinds;
export type DivergenceSupport = keyof typeof supports;

interface Choices {
  readonly kind: DivergenceKind;
  readonly support: DivergenceSupport;
}

/** Supports whose teacher values are log-probs over the whole vocabulary. */
export const logProbSupports: readonly DivergenceSupport[] = ["tail", "truncated"];

const mixtures: readonly DivergenceKind[] = ["mixed", "jsd"];

/** Options that have a meaning beside some choices only: why one has none, or null. */
export const inapplicable = {
  weight: ({ kind }) => (mixtures.includes(kind) ? null : `kind is "${kind}"`),
  teacherTemperature: ({ support }) =>
    logProbSupports.includes(support)
      ? `support is "${support}": log-probs, which a temperature could not normalise again`
      : null,
  logFloor: ({ kind, support }) =>
    support !== "floor"
      ? `support is "${support}"`
      : kind === "forward"
        ? 'kind is "forward": q is 0 where the floor is'
        : null,
  nonNegative: ({ kind, support }) =>
    support === "truncated" && kind === "forward"
      ? null
      : `only "forward" over "truncated" can be negative`,
} as const satisfies Record<string, (choices: Choices) => string | null>;

/** Whether kind and support go together. */
export function refuseCombination({ kind, support }: Choices): Refusal | null {
  if (support === "truncated" && (kind === "reverse" || kind === "mixed")) {
    const reason =
      "without the rest, sum p log(p / q) is least at p = q / e and not at the teacher";
    return { reason, nearest: 'support: "tail"' };
  }
  return support === "floor" && kind === "jsd"
    ? { reason: "log m is finite without a floor", nearest: 'support: "tail"' }
    : null;
}

/** @throws FiresteelError ERR_OPTION with the reason and the nearest legal choice */
export function checkCombination(choices: Choices): void {
  const refusal = refuseCombination(choices);
  if (refusal === null) return;
  const { kind, support } = choices;
  throw new FiresteelError(
    "ERR_OPTION",
    `kind "${kind}" over support "${support}" is refused: ${refusal.reason} (nearest: ${refusal.nearest})`,
  );
}

const axes = { kind: kinds, support: supports } as const;

/** Eight roundings to float: exp2, the two logits' distances and their scales. */
const eightRoundings = 2 ** -21;

export const divergenceTable: KernelTable = {
  family: "divergence",
  summary: "distillation losses between student logits and a teacher, with gradient",
  source: "stated with each kind and support",
  axes,
  combinations: combine(axes, (c) => refuseCombination(c as unknown as Choices)),
  tolerances: [
    {
      of: "divergence, full",
      cpu: eightRoundings,
      cuda: eightRoundings,
      relativeTo:
        "sum over tokens of (1 + z) (term + |p - q|), z = -log min(p, q), terms in the form that is never negative; for jsd over min(weight, 1 - weight)",
    },
    {
      of: "divergence, k tokens",
      cpu: 2 ** -23,
      cuda: 2 ** -23,
      relativeTo:
        "the result; beside it what it moves by when the mass outside of the k tokens is off by 2^-21 (1 + its mean z) of itself",
    },
    {
      of: "d logits",
      cpu: eightRoundings,
      cuda: eightRoundings,
      relativeTo:
        "(1 + z) (p + p sum |P g| + |P g|), P g: mass times derivative of the token's outcome, the sum over all; for jsd over min(weight, 1 - weight); beside one rounding to the dtype",
    },
  ],
};
