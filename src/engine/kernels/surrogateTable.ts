import { combine, type KernelTable, type Refusal } from "./kernelTable.js";

// The order of every list is the native numbering: scripts/generateTables.mjs writes it into
// native/kernels/surrogate/combinations.h.

/** What the ratio rho is taken over. x_t = log p(t) - log p_old(t); means and sums over trained tokens. */
export const levels = {
  token: "rho_t = exp(x_t)",
  segment: "exp(mean x) over the segment, gradient to all its tokens",
  sequence: "exp(mean x) over the row, gradient to all its tokens (GSPO, Zheng et al. 2025, eq. 7)",
  "sequence-product": "exp(sum x) over the row, gradient to all its tokens (RLOO as in TRL)",
  "sequence-token":
    "the sequence's ratio in value, each token's own gradient (GSPO-token, Zheng et al. 2025, eq. 14)",
  none: "1 in value, the token's own gradient: one update per batch, no old policy",
} as const;

/** Loss of a token with ratio rho, advantage A and log-prob lp; sg(.) is held constant. */
export const forms = {
  clip: "-min(rho A, clip(rho, low, high) A), with delta and dualClip as options (Schulman et al. 2017, eq. 7)",
  unclipped: "-rho A",
  reinforce: "-A lp (Williams 1992)",
  cispo: "-sg(clip(rho, low, high)) A lp (MiniMax-M1, 2025, eq. 4)",
  sapo: "-A (4 / tau) sigmoid(tau (rho - 1)), tau by the sign of A (Gao et al. 2025)",
  gmpo: "-A exp(mean of min(x, high) where A > 0, of max(x, low) where A < 0) (Zhao et al. 2025)",
  "dppo-tv":
    "-A sg(min(rho, ratioCap)) lp where p - p_old <= high (A > 0) or >= low (A < 0), else 0 (verl)",
  vespo: "-sg(exp(lambda + k log rho - lambda rho)) A lp, k and lambda by the sign of A (TRL)",
} as const;

export const advantages = {
  row: "one a row",
  segment: "one a segment",
  token: "one a token",
} as const;

/** Estimates of KL(current || reference) per token, d = ref - lp (Schulman 2020). */
export const klEstimators = {
  k1: "-d",
  k2: "d^2 / 2",
  k3: "exp(d) - 1 - d",
  abs: "|d|",
  "k3+": "the value of k3, the gradient of k2 (verl)",
} as const;

/**
 * Means over rows and groups count those with a trained token; emptyRows "count" makes the means over
 * rows count all. Tokens of rows with A = 0 get no weight in balanced.
 */
export const aggregations = {
  "token-mean": "sum over trained tokens / their number",
  "seq-mean-token-mean": "mean over rows of the row's token mean",
  "seq-mean-token-sum": "mean over rows of the row's token sum",
  "seq-mean-token-sum-norm": "mean over rows of the row's token sum / horizon",
  "token-sum": "sum over trained tokens",
  balanced:
    "mean over groups of the token means of rows with A > 0 and A < 0, each weighted by its share of the group's rows",
  "group-weighted": "mean over groups of groupWeight times the group's token mean",
} as const;

/**
 * Weights for a sampler that differs from the old policy; w = p_old / p_sampler. They multiply the policy
 * loss, not the KL; vespo adds their logs to its log rho instead.
 */
export const mismatches = {
  none: "no correction",
  "token-truncate": "w_t clamped to [low, high]",
  "token-mask": "w_t, 0 outside [low, high]",
  "sequence-truncate": "the row's product of w clamped to [low, high]",
  "sequence-mask": "the row's product of w, 0 outside [low, high]",
  "geometric-mask": "w_t where the row's geometric mean is in [low, high], else 0",
} as const;

export type Level = keyof typeof levels;
export type Form = keyof typeof forms;
export type AdvantageUnit = keyof typeof advantages;
export type KlEstimator = keyof typeof klEstimators;
export type Aggregation = keyof typeof aggregations;
export type Mismatch = keyof typeof mismatches;

/** What [low, high] holds where a form has limits, and how it follows from epsilon and epsilonHigh. */
export const limits: Readonly<Record<Form, "ratio" | "log-ratio" | "probability" | null>> = {
  clip: "ratio", // [1 - epsilon, 1 + epsilonHigh]
  unclipped: null,
  reinforce: null,
  cispo: "ratio",
  sapo: null,
  gmpo: "log-ratio", // [-epsilon, epsilonHigh]
  "dppo-tv": "probability", // [-epsilon, epsilonHigh]
  vespo: null,
};

/** Options that belong to one form only, with their defaults (null: none). */
export const formOptions = {
  delta: { form: "clip", default: null },
  dualClip: { form: "clip", default: null },
  tauPositive: { form: "sapo", default: 1 },
  tauNegative: { form: "sapo", default: 1.05 },
  ratioCap: { form: "dppo-tv", default: 20 },
  kPositive: { form: "vespo", default: 2 },
  lambdaPositive: { form: "vespo", default: 3 },
  kNegative: { form: "vespo", default: 3 },
  lambdaNegative: { form: "vespo", default: 2 },
} as const satisfies Record<string, { form: Form; default: number | null }>;

/** Default of epsilon (and of epsilonHigh, where not given), by form. */
export const defaultEpsilon: Readonly<Record<Form, number | null>> = {
  clip: 0.2,
  unclipped: null,
  reinforce: null,
  cispo: 0.2,
  sapo: null,
  gmpo: 0.4,
  "dppo-tv": 0.2,
  vespo: null,
};

/** Levels whose gradient reaches all tokens of a unit through its one ratio, and that unit. */
export const pools: Readonly<Partial<Record<Level, AdvantageUnit>>> = {
  segment: "segment",
  sequence: "row",
  "sequence-product": "row",
};

/** Forms whose gradient does not pass through the ratio. */
export const constantRatio: readonly Form[] = ["reinforce", "cispo", "dppo-tv", "vespo"];

/** Another form or level, with why the given pair is none. */
interface Change {
  reason: string;
  to: { form: Form } | { level: Level };
}

function changeLevel(form: Form, level: Level): Change | null {
  const to = (reason: string, near: Level): Change => ({ reason, to: { level: near } });
  switch (form) {
    case "reinforce":
      return level === "none" ? null : to("-A lp has no ratio", "none");
    case "cispo":
      if (level === "sequence-token") {
        return to("the ratio is held constant, so that sequence is the same", "sequence");
      }
      return level === "none"
        ? { reason: "with a ratio of 1 it is reinforce", to: { form: "reinforce" } }
        : null;
    case "gmpo":
      return level === "sequence" || level === "segment"
        ? null
        : to("it is a geometric mean over tokens", "sequence");
    case "dppo-tv":
      return level === "token"
        ? null
        : to("its limits are differences of token probabilities", "token");
    case "vespo":
      return level === "sequence-product"
        ? null
        : to("its weight is a function of the sequence's product", "sequence-product");
    default:
      return null;
  }
}

/** Name of the input that carries advantages of a unit. */
export const advantageInputs = {
  row: "advantage",
  segment: "segmentAdvantage",
  token: "tokenAdvantage",
} as const satisfies Record<AdvantageUnit, string>;

/** Whether form and level take advantages of this unit; for pairs that refuseLevel lets pass. */
export function refuseAdvantage(
  form: Form,
  level: Level,
  advantage: AdvantageUnit,
): Refusal | null {
  const unit = pools[level];
  if (unit === undefined || constantRatio.includes(form)) {
    return advantage === "segment" && level !== "segment"
      ? { reason: "segments belong to level segment", nearest: advantageInputs.token }
      : null;
  }
  if (advantage === "row" || advantage === unit) return null;
  const reason = `all tokens of a ${unit === "row" ? "sequence" : unit} share one ratio and one advantage`;
  if (advantage === "segment") return { reason, nearest: 'level: "segment"' };
  const free = unit === "row" && form !== "gmpo";
  return { reason, nearest: free ? 'level: "sequence-token"' : advantageInputs[unit] };
}

/** Whether form and level go together, whatever the advantage; `nearest` takes the one given. */
export function refuseLevel(form: Form, level: Level, advantage: AdvantageUnit): Refusal | null {
  const change = changeLevel(form, level);
  if (change === null) return null;
  const near = { form, level, ...change.to };
  const name = "form" in change.to ? "form" : "level";
  const beside = refuseAdvantage(near.form, near.level, advantage);
  const and = beside === null ? "" : ` with ${beside.nearest}`;
  return { reason: change.reason, nearest: `${name}: "${near[name]}"${and}` };
}

/** Whether form, level and advantage go together. */
export function refuseCombination(
  form: Form,
  level: Level,
  advantage: AdvantageUnit,
): Refusal | null {
  return refuseLevel(form, level, advantage) ?? refuseAdvantage(form, level, advantage);
}

/** KL times the ratio (DeepSeek-V3.2's unbiased estimate; TRL use_bias_correction_kl). */
export function refuseKlRatio(form: Form): Refusal | null {
  return form === "gmpo" || form === "vespo"
    ? { reason: `the ratio of ${form} is not that of the policies`, nearest: "klRatio: false" }
    : null;
}

/** Ratios exp(scale (x + bias)) of flow steps (GRPO-Guard, arXiv 2510.22319, eq. 6). */
export function refuseNormalisedRatio(form: Form, level: Level): Refusal | null {
  const oneStep = "a normalised ratio is that of one step";
  if (form !== "gmpo" && !constantRatio.includes(form)) {
    return level === "token" ? null : { reason: oneStep, nearest: 'level: "token"' };
  }
  const reason = form === "gmpo" ? oneStep : "the gradient of the bias passes through the ratio";
  return { reason, nearest: `form: "clip"${level === "token" ? "" : ' with level: "token"'}` };
}

/** Aggregations that need to know the groups of rows. */
export const groupedAggregations: readonly Aggregation[] = ["balanced", "group-weighted"];
/** Aggregations whose default denominator counts rows: emptyRows applies to them. */
export const rowAggregations: readonly Aggregation[] = [
  "seq-mean-token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-sum-norm",
];

/** "balanced" asks for the sign of a row's advantage. */
export function refuseAggregation(
  aggregation: Aggregation,
  advantage: AdvantageUnit,
): Refusal | null {
  return aggregation === "balanced" && advantage !== "row"
    ? { reason: "rows are parted by the sign of their advantage", nearest: "advantage" }
    : null;
}

const axes = { form: forms, level: levels, advantage: advantages } as const;

const names = <K extends string>(table: Readonly<Record<K, unknown>>) => Object.keys(table) as K[];
const list = (choices: readonly string[]) => choices.join(", ");
const formsWhere = (takes: (form: Form) => boolean) => list(names(forms).filter(takes));

/** What goes with what beside form, level and advantage, as the functions above have it. */
const rules = [
  ...(["ratio", "log-ratio", "probability"] as const).map(
    (kind) =>
      `Limits of the ${kind === "probability" ? "difference of probabilities" : kind}: ${formsWhere((f) => limits[f] === kind)}.`,
  ),
  ...names(formOptions).map((name) => {
    const { form, default: initial } = formOptions[name];
    return `${name} belongs to ${form}; default ${initial ?? "none"}.`;
  }),
  `klRatio goes with ${formsWhere((f) => refuseKlRatio(f) === null)}.`,
  `Normalised ratios (ratioScale, ratioBias) go with ${formsWhere((f) => refuseNormalisedRatio(f, "token") === null)}, at level token.`,
  `Groups are asked for by ${list(groupedAggregations)}; balanced takes advantages of rows.`,
  `emptyRows applies to ${list(rowAggregations)}.`,
  "Shaped rows take -A p / (p + shapeGamma) instead of form and level, with any of them.",
];

export const surrogateTable: KernelTable = {
  family: "surrogate",
  summary: "policy-gradient losses over ragged rows of tokens, with gradient and metrics",
  source: "stated with each form and level; KL estimators Schulman 2020; aggregations verl",
  axes,
  combinations: combine(axes, (c) =>
    refuseCombination(c.form as Form, c.level as Level, c.advantage as AdvantageUnit),
  ),
  further: { klEstimator: klEstimators, aggregation: aggregations, mismatch: mismatches },
  rules,
  tolerances: [
    { of: "loss", cpu: 1e-6, cuda: 1e-6, relativeTo: "the sum of absolute terms" },
    {
      of: "d log-prob, token levels",
      cpu: 4e-7,
      cuda: 4e-7,
      relativeTo: "policy and KL part of the gradient, of sapo times 1 + tau rho",
    },
    {
      of: "d log-prob, pooled levels",
      cpu: 1e-6,
      cuda: 1e-6,
      relativeTo:
        "the sum of absolute contributions of the unit's tokens, of sapo times 1 + tau rho",
    },
  ],
};
