import { combine, type KernelTable, type Refusal } from "./kernelTable.js";
import { logitTypes } from "./logProbTable.js";
import {
  type AdvantageUnit,
  advantages,
  type Form,
  forms,
  type Level,
  levels,
  refuseAdvantage,
  refuseLevel,
} from "./surrogateTable.js";

/** Levels at which the gradient at a token depends on the current log-prob of that token alone. */
const localLevels: readonly Level[] = ["token", "none"];

const elsewhere = "logProb, surrogate and logProbBackward one after the other take it";

/** Whether a surrogate is local to tokens, whatever the unit of the advantage; `nearest` takes the one given. */
export function refuseCoupled(form: Form, level: Level, advantage: AdvantageUnit): Refusal | null {
  const own = localLevels.filter((near) => refuseLevel(form, near, advantage) === null);
  const beside = advantage === "segment" ? " with tokenAdvantage" : "";
  if (own.length === 0) {
    const reason = `${form} couples the tokens of a row; ${elsewhere}`;
    return { reason, nearest: `form: "clip" with level: "token"${beside}` };
  }
  if (localLevels.includes(level)) return refuseLevel(form, level, advantage);
  const reason = `the tokens of a unit share one ratio; ${elsewhere}`;
  return { reason, nearest: `level: "${own[0]}"${beside}` };
}

/** The test looks at the current log-probs of a whole row. */
export const refuseOffPolicy: Refusal = {
  reason: `the test sums the current log-probs of a row; ${elsewhere}`,
  nearest: "nothing",
};

const axes = { form: forms, level: levels, advantage: advantages } as const;

export const tokenLossTable: KernelTable = {
  family: "token-loss",
  summary:
    "log-prob, surrogate and gradient of the logits in one call, the logits read once, for losses that are local to tokens",
  source: "as log-prob and surrogate; one pass as in Liger's GRPO loss (Hsu et al. 2024)",
  axes,
  combinations: combine(axes, (c) => {
    const [form, level] = [c.form as Form, c.level as Level];
    const advantage = c.advantage as AdvantageUnit;
    return refuseCoupled(form, level, advantage) ?? refuseAdvantage(form, level, advantage);
  }),
  further: { logits: logitTypes },
  rules: [
    "Every output has the bits of logProb, surrogate and logProbBackward one after the other.",
    "offPolicyThreshold is refused: the test sums the current log-probs of a row. Mismatch weights of rows are taken.",
    "Everything else is as with surrogate; entropies are those of the logits.",
  ],
  tolerances: [
    {
      of: "loss, d log-prob",
      cpu: 1e-6,
      cuda: 1e-6,
      relativeTo: "the sum of absolute terms, beside what log-prob's own tolerance moves them by",
    },
    {
      of: "d logits, before their rounding to the dtype",
      cpu: 6e-7,
      cuda: 6e-7,
      relativeTo: "as log-prob's, beside what the error of d log-prob makes of it",
    },
  ],
};
