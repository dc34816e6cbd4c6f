import { combine, type KernelTable, type Refusal } from "./kernelTable.js";

// The order of every list is the native numbering: scripts/generateTables.mjs writes it into
// native/kernels/group_loss/row_terms.h.

/** What a trained token gives to its row's score, x = logProb - baseLogProb (or logProb alone). */
export const rowTerms = {
  "log-ratio": "x",
  k1: "-x, an estimate of KL(base || policy) where the base sampled",
  k3: "exp(x) - 1 - x, the same with less variance (Schulman 2020)",
} as const;

export const poolings = {
  mean: "sum over trained tokens / their number",
  sum: "sum over trained tokens",
} as const;

const bases = {
  given: "baseLogProb: the old policy (REAL, Reg-GRPO) or the reference (DPO, IPO)",
  none: "the log-probs themselves (DRPO, DisCO)",
} as const;

export type RowTerm = keyof typeof rowTerms;
export type Pooling = keyof typeof poolings;

/** A divergence is one from another policy. */
export function refuseTerm(term: RowTerm, hasBase: boolean): Refusal | null {
  return hasBase || term === "log-ratio"
    ? null
    : { reason: `${term} compares two policies`, nearest: "baseLogProb" };
}

export const rowScoreTable: KernelTable = {
  family: "row-score",
  summary: "one score a row from its tokens' log-probs, and the way back",
  source: "means: REAL (arXiv 2602.05630), DRPO (arXiv 2510.04474); sums: DPO (arXiv 2305.18290)",
  axes: { term: rowTerms, pooling: poolings, base: bases },
  combinations: combine({ term: rowTerms, pooling: poolings, base: bases }, (c) =>
    refuseTerm(c.term as RowTerm, c.base === "given"),
  ),
  tolerances: [
    {
      of: "score",
      cpu: 1e-12,
      cuda: 1e-12,
      relativeTo: "the pooled absolute terms, those of exp(x) - 1 and x apart",
    },
    { of: "d log-prob", cpu: 1.2e-7, cuda: 1.2e-7, relativeTo: "itself: one rounding to float" },
  ],
};
