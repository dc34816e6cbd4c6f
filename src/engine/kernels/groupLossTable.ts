import { combine, type KernelTable } from "./kernelTable.js";

// The order of the kinds is the native numbering: scripts/generateTables.mjs writes it into
// native/kernels/group_loss/kinds.h.

/**
 * Loss of a group with scores s. P are its positive rows, N its negative ones: reward 1 and reward 0,
 * unless it says otherwise.
 */
export const kinds = {
  real: "log(1 + sum_N exp(s / tau)) + log(1 + sum_P exp(-s / tau)) (REAL, arXiv 2602.05630)",
  "real-bce":
    "cross-entropy of sigmoid(s / tau), summed over rows; P: the group's highest reward, N: all others (REAL's code)",
  "real-product": "log(1 + sum_N exp(s / tau) * sum_P exp(-s / tau)) (REAL's code; circle loss)",
  drpo: "tau log mean_N exp(s / tau) - sum_P w s, w = softmax_P((1 - length / maxCompletionLength) / lambda) (DRPO, arXiv 2510.04474)",
  disco: "drpo with w = 1 / |P| (DisCO, arXiv 2505.12366)",
  "reg-grpo":
    "mean (advantage - (s - mean s) / (std s + eps))^2 (Reg-GRPO of DeepVideo-R1, arXiv 2506.07464)",
  dpo: "-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h), h = s_chosen - s_rejected, e = labelSmoothing (DPO, arXiv 2305.18290)",
  ipo: "(h - 1 / (2 beta))^2, h = s_chosen - s_rejected (IPO, arXiv 2310.12036)",
} as const;

export type GroupLossKind = keyof typeof kinds;

/** Values a row, beside its score, that a kind needs; it takes no others. */
export const kindInputs = {
  real: ["reward"],
  "real-bce": ["reward"],
  "real-product": ["reward"],
  drpo: ["reward", "lengths"],
  disco: ["reward"],
  "reg-grpo": ["advantage"],
  dpo: [],
  ipo: [],
} as const satisfies Record<GroupLossKind, readonly string[]>;

/** Options of a kind with their defaults (undefined: has to be given); it takes no others. */
export const kindOptions = {
  real: { tau: 0.5 },
  "real-bce": { tau: 0.5 },
  "real-product": { tau: 0.5 },
  drpo: { tau: 10, lambda: 0.1, maxCompletionLength: undefined },
  disco: { tau: 10 },
  "reg-grpo": { eps: 1e-4, ddof: 0, skipConstant: false },
  dpo: { beta: 0.1, labelSmoothing: 0 },
  ipo: { beta: 0.1 },
} as const satisfies Record<GroupLossKind, Record<string, number | boolean | undefined>>;

/** What the sum over groups is divided by, unless `denominator` is given. */
export const denominators = {
  real: "all groups, those without positives or negatives too",
  "real-bce": "rows of the groups whose rewards differ",
  "real-product": "all groups, those without positives or negatives too",
  drpo: "all groups, those without positives or negatives too",
  disco: "all groups, those without positives or negatives too",
  "reg-grpo": "groups with a valid row, without those that skipConstant skips",
  dpo: "pairs of two valid rows",
  ipo: "pairs of two valid rows",
} as const satisfies Record<GroupLossKind, string>;

/** Kinds whose groups are pairs: two rows each, the chosen one first. */
export const pairKinds: readonly GroupLossKind[] = ["dpo", "ipo"];

export const groupLossTable: KernelTable = {
  family: "group-loss",
  summary: "objectives that couple the rows of a group or of a pair, with d loss / d score",
  source: "stated with each kind",
  axes: { kind: kinds },
  combinations: combine({ kind: kinds }, () => null),
  rules: (Object.keys(kinds) as GroupLossKind[]).map((kind) => {
    const inputs = ["score", ...kindInputs[kind]].join(", ");
    const options = Object.entries(kindOptions[kind]).map(
      ([name, initial]) =>
        `${name} (${initial === undefined ? "no default" : `default ${initial}`})`,
    );
    return `${kind} takes ${inputs}; ${options.join(", ")}; divides by ${denominators[kind]}.`;
  }),
  tolerances: [
    {
      of: "loss",
      cpu: 1e-12,
      cuda: 1e-12,
      relativeTo:
        "the sum of absolute terms, times 1 + the largest |s| / tau, beta |s| or |s| / std",
    },
    {
      of: "d score",
      cpu: 1e-12,
      cuda: 1e-12,
      relativeTo:
        "the sum of absolute parts, times 1 + the largest |s| / tau, beta |s| or |s| / std",
    },
  ],
};
