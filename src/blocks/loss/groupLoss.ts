import type { LossBatch, LossTerm } from "../../contract/loss.js";
import type { Measure } from "../../contract/metrics.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { FiresteelError } from "../../engine/error.js";
import {
  groupLoss as groupLossKernel,
  groupLossMetrics,
  type GroupLossOptions as KernelOptions,
  preferenceMetrics,
} from "../../engine/kernels/groupLoss.js";
import {
  denominators,
  type GroupLossKind,
  kindInputs,
  pairKinds,
} from "../../engine/kernels/groupLossTable.js";
import { type RowScoreResult, rowScore, rowScoreBackward } from "../../engine/kernels/rowScore.js";
import {
  type GroupLossOptions,
  type GroupLossValues,
  kernelOptions,
  parseGroupLoss,
} from "./groupLossOptions.js";
import { rowColumn } from "./surrogateRows.js";

export type { GroupLossOptions } from "./groupLossOptions.js";

/** Kinds whose sum over groups is divided by the number of all groups, which a part of a step can know. */
const dividesByAll = (kind: GroupLossKind) =>
  pairKinds.includes(kind) || denominators[kind].startsWith("all groups");

/** What the kernel's sums say, by TRL's names where it has one. */
function measures(values: Float64Array, { kind, beta }: GroupLossValues): Record<string, Measure> {
  const of = (name: (typeof groupLossMetrics)[number]) => values[groupLossMetrics.indexOf(name)]!;
  const [used, skipped, faulty] = [of("groupsUsed"), of("groupsSkipped"), of("groupsFaulty")];
  const mean = (sum: number, count: number): Measure => ({ kind: "mean", sum, count });
  if (pairKinds.includes(kind)) {
    const named = Object.entries(preferenceMetrics(values, beta));
    return Object.fromEntries(
      named.map(([name, value]) => [name, mean((value ?? 0) * used, used)]),
    );
  }
  return {
    "groups/ordered": mean(of("groupsOrdered"), used),
    "groups/skipped": mean(skipped, used + skipped + faulty),
    "scores/positive": mean(of("positiveScoreSum"), of("positiveRows")),
    "scores/negative": mean(of("negativeScoreSum"), of("negativeRows")),
  };
}

function rowInputs(o: GroupLossValues, { rows }: LossBatch, { trainedTokens }: RowScoreResult) {
  const needs: readonly string[] = kindInputs[o.kind];
  const pairs = pairKinds.includes(o.kind);
  return {
    // A pair was chosen by what its rows are worth: nothing of it is missing.
    valid: pairs ? null : Uint8Array.from(rows, ({ reward }) => (reward === null ? 0 : 1)),
    ...(needs.includes("reward") && {
      reward: Float32Array.from(rows, ({ reward }) => reward ?? 0),
    }),
    ...(needs.includes("lengths") && { lengths: trainedTokens }),
    ...(needs.includes("advantage") && { advantage: rowAdvantages(rows) }),
  };
}

function rowAdvantages(rows: LossBatch["rows"]): Float32Array {
  const values = rowColumn(rows, "advantage");
  if (values !== null) return values;
  throw new FiresteelError(
    "ERR_OPTION",
    'Expected one advantage per row (kind is "reg-grpo") but received them by segment or action',
  );
}

/** The whole step's count, for a part of it. @throws FiresteelError ERR_OPTION where parts cannot know it */
function denominatorOf(
  o: GroupLossValues,
  { scale, groupOffsets }: LossBatch,
): Pick<KernelOptions, "denominator"> {
  if (groupOffsets.length - 1 === scale.groups || scale.groups === 0) return {};
  if (dividesByAll(o.kind)) return { denominator: scale.groups };
  throw new FiresteelError(
    "ERR_OPTION",
    `Expected all groups of the optimiser step at once (kind "${o.kind}" divides by ${denominators[o.kind]}) ` +
      `but received ${groupOffsets.length - 1} of ${scale.groups}`,
  );
}

function evaluate(engine: Engine, o: GroupLossValues, batch: LossBatch) {
  const bases = { old: batch.oldLogProb, reference: batch.modelLogProb.reference!, none: null };
  const rows = { mask: batch.mask, rowOffsets: batch.rowOffsets };
  const scores = rowScore(
    engine,
    { logProb: tensorOf(batch.logProb, "logProb"), baseLogProb: bases[o.base], ...rows },
    { pooling: o.pooling },
  );
  const inputs = {
    score: scores.score,
    groupOffsets: batch.groupOffsets,
    ...rowInputs(o, batch, scores),
  };
  const options = { ...kernelOptions(o), ...denominatorOf(o, batch) };
  const { loss, dScore, metrics } = groupLossKernel(engine, inputs, options);
  const { tokenWeight } = scores;
  return { loss, metrics, dLogProb: rowScoreBackward(engine, { dScore, tokenWeight, ...rows }) };
}

/**
 * Losses that couple the rows of a group (REAL, DRPO, DisCO, Reg-GRPO) or of a pair, the chosen row first
 * (DPO, IPO): formulas and sources in `kinds` of groupLossTable.ts. A row's score is the sum or mean of its
 * trained tokens' log-probs, minus those of a base; by default both are the kind's own.
 *
 * Pairs report TRL's `rewards/chosen`, `rewards/rejected`, `rewards/margins` and `rewards/accuracies`;
 * groups the share of those whose better rows score higher (`groups/ordered`) and of those with nothing to
 * compare (`groups/skipped`), and mean scores.
 *
 * @throws FiresteelError ERR_OPTION
 * @example
 * groupLoss({ kind: "dpo", beta: 0.1, labelSmoothing: 0.05 });
 */
export function groupLoss(options: GroupLossOptions): LossTerm {
  const { values, described } = parseGroupLoss(options);
  const { kind } = values;
  return {
    block: "groupLoss",
    options: described,
    coupling: pairKinds.includes(kind) ? "pair" : "group",
    whole: !dividesByAll(kind),
    models: values.base === "reference" ? ["reference"] : [],
    entropy: false,
    columns: (kindInputs[kind] as readonly string[]).includes("advantage") ? ["advantage"] : [],
    evaluate(batch) {
      const result = evaluate(engineOf(batch.engine), values, batch);
      return { ...result, dEntropy: null, decode: (sums) => measures(sums, values) };
    },
  };
}
