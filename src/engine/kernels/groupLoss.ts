import { aNumber, checkArguments, numbers } from "../arguments.js";
import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkKeys,
  checkNumber,
  invalid,
} from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Out, withInputs } from "../inputs.js";
import { type Offsets, type OffsetsLike, offsetValues } from "../offsets.js";
import type { Tensor } from "../tensor.js";
import { type GroupLossKind, kindInputs, kindOptions, kinds, pairKinds } from "./groupLossTable.js";

const kindNames = Object.keys(kinds) as GroupLossKind[];

/**
 * What `metrics` holds, in order: float64 sums over the groups of the call, so that those of
 * micro-batches add up. Positive and negative rows are those of the groups used: by reward, for
 * reg-grpo those with advantage above and below 0, for dpo and ipo the chosen and the rejected ones.
 */
export const groupLossMetrics = [
  /** What the loss is divided by where no denominator is given (groupLossTable.ts: denominators). */
  "count",
  "groupsUsed",
  /** Groups with nothing to compare: loss 0, gradient 0. */
  "groupsSkipped",
  /** Groups left out for a value that is not finite. */
  "groupsFaulty",
  /** Used groups whose positive rows score higher, on average, than their negative ones. */
  "groupsOrdered",
  "positiveRows",
  "negativeRows",
  "positiveScoreSum",
  "negativeScoreSum",
  /** Valid rows whose reward is neither 1 nor 0, in the kinds that part rows by these. */
  "ignoredRows",
] as const;

/** Choices of `groupLoss`; an option that its kind does not read is refused. */
export interface GroupLossOptions {
  kind: GroupLossKind;
  /** Temperature of the scores; > 0. REAL: default 0.5; DRPO and DisCO: 10. */
  tau?: number;
  /** drpo: temperature of the length weights; > 0, default 0.1. */
  lambda?: number;
  /** drpo: L_max, the longest answer that there is room for, in tokens; > 0. No default. */
  maxCompletionLength?: number;
  /**
   * reg-grpo: added to the std of the scores; >= 0, default 1e-4. Wherever the policy is the old policy
   * (the first step on every batch) all scores are 0 and so is their std: the gradient is then about
   * -2 advantage / (n eps), at n = 8 and eps 1e-4 a factor of 2,500. The paper leaves the choice open; with
   * more than one step a batch, or without gradient clipping, 1e-2 to 1 is sane. With eps 0 a group of
   * equal scores has no derivative and gets gradient 0.
   */
  eps?: number;
  /** reg-grpo: subtracted from the count under the root of std; 0 (default) or 1. */
  ddof?: 0 | 1;
  /**
   * reg-grpo: skips groups whose advantages are all equal; default false. Otherwise these groups pull
   * the scores of their rows together.
   */
  skipConstant?: boolean;
  /** dpo, ipo: strength of the tie to the reference; > 0, default 0.1. */
  beta?: number;
  /** dpo: probability that a preference is the wrong way round; in [0, 0.5], default 0. */
  labelSmoothing?: number;
  /**
   * Divides the sum over groups; > 0. Default: counted, at least 1 (`count` of the metrics): all groups
   * for real, real-product, drpo and disco; rows of the groups whose rewards differ for real-bce; groups
   * that are not skipped for reg-grpo, dpo and ipo. Give the whole optimiser step's count to
   * micro-batches of whole groups.
   */
  denominator?: number;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<GroupLossResult>;
}

/** What `groupLoss` takes: one score a row, and what the kind compares it with. R rows in G groups. */
export interface GroupLossInputs {
  /** f64 or f32 [R]: one a row, as `rowScore` makes them. */
  score: TensorLike;
  /** `[G + 1]`: group g holds rows `groupOffsets[g]` to `groupOffsets[g + 1]`; for dpo and ipo two each. */
  groupOffsets: OffsetsLike;
  /**
   * f32 or u8 [R]: real, real-product, drpo and disco take 1 as positive, 0 as negative, and leave out rows
   * with any other; real-bce takes a group's highest as positive and all others as negative.
   */
  reward?: TensorLike;
  /** i32 [R]: drpo: length of the answer in tokens (`trainedTokens` of `rowScore`). */
  lengths?: TensorLike;
  /** f32 [R]: reg-grpo: the targets, usually the z-scores of `groupNorm`. */
  advantage?: TensorLike;
  /** u8 [R]: rows with 0 (no reward) are left out; a pair with such a row is skipped. */
  valid?: TensorLike | null;
}

/** What `groupLoss` makes. */
export interface GroupLossResult {
  /** f64 [1]: to be minimised. */
  loss: Tensor;
  /** f64 [R]: d loss / d score; for `rowScoreBackward`. */
  dScore: Tensor;
  /** f64 [G]: what each group adds to the sum that the denominator divides. */
  groupLoss: Tensor;
  /** f64 [10], in the order of `groupLossMetrics`. */
  metrics: Tensor;
}

type OptionName = Exclude<keyof GroupLossOptions, "kind" | "denominator" | "out">;
type InputName = "reward" | "lengths" | "advantage";

const optionNames = [...new Set(Object.values(kindOptions).flatMap(Object.keys))] as OptionName[];
const inputNames = [...new Set(Object.values(kindInputs).flat())] as InputName[];

/**
 * Loss over groups or pairs of rows, with its gradient with respect to the rows' scores. Groups have to be
 * whole; a step over micro-batches scores all rows first, calls this once (or by whole groups, with
 * `denominator`), and goes back by micro-batch.
 *
 * Rows that are not valid change nothing, whatever stands there. A score, reward or advantage that is not
 * finite takes its group out (loss 0, gradient 0) and is reported (Engine's `onFault`); other groups are
 * untouched and the denominator still counts it.
 *
 * Formulas and sources: `kinds` in groupLossTable.ts. DRPO's trust region is `klHinge`.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function groupLoss(
  engine: Engine,
  args: GroupLossInputs,
  options: GroupLossOptions,
): GroupLossResult {
  checkKeys("inputs", args, ["score", "groupOffsets", ...inputNames, "valid"]);
  const setting = checkOptions(options);
  const { kind } = setting;
  for (const name of inputNames) {
    const needed = (kindInputs[kind] as readonly string[]).includes(name);
    if (needed === ((args[name] ?? null) !== null)) continue;
    const expected = needed ? "one value a row" : "nothing";
    throw invalid("ERR_OPTION", name, `${expected} (kind is "${kind}")`, args[name]);
  }
  return withInputs(engine, (inputs) => {
    const bounds = inputs.offsets("groupOffsets", args.groupOffsets);
    const { total: rows, rows: groups } = bounds;
    if (pairKinds.includes(kind)) checkPairs(bounds, kind);
    const score = inputs.tensor("score", args.score, ["f64", "f32"], [rows]);
    const reward = inputs.optional("reward", args.reward, ["f32", "u8"], [rows]);
    const lengths = inputs.optional("lengths", args.lengths, "i32", [rows]);
    const advantage = inputs.optional("advantage", args.advantage, "f32", [rows]);
    const valid = inputs.optional("valid", args.valid, "u8", [rows]);
    const out = inputs.results(options.out, {
      loss: ["f64", [1]],
      dScore: ["f64", [rows]],
      groupLoss: ["f64", [groups]],
      metrics: ["f64", [groupLossMetrics.length]],
    });
    engine.addon.groupLoss(
      engine.handle,
      rows,
      groups,
      kindNames.indexOf(kind),
      dtypes[score.dtype].code,
      dtypes[reward?.dtype ?? "f32"].code,
      setting.tau,
      setting.lambda,
      setting.maxCompletionLength,
      setting.eps,
      setting.ddof,
      setting.skipConstant,
      setting.beta,
      setting.labelSmoothing,
      setting.denominator,
      handle(bounds),
      handle(score),
      handle(valid),
      handle(reward),
      handle(lengths),
      handle(advantage),
      handle(out.loss),
      handle(out.dScore),
      handle(out.groupLoss),
      handle(out.metrics),
    );
    return out;
  });
}

/** Options that the kind does not take are refused; the native call then gets any number for them. */
function checkOptions(options: GroupLossOptions) {
  checkKeys("options", options, ["kind", ...optionNames, "denominator", "out"]);
  const kind = checkChoice("kind", options.kind, kindNames);
  const defaults: Partial<Record<OptionName, number | boolean>> = kindOptions[kind];
  for (const name of optionNames) {
    if (options[name] === undefined || name in defaults) continue;
    throw invalid("ERR_OPTION", name, `nothing (kind is "${kind}")`, options[name]);
  }
  const taken = <T>(name: OptionName, otherwise: T, check: (value: unknown) => T): T =>
    name in defaults ? check(options[name] ?? defaults[name]) : otherwise;
  // Both the number and its inverse are ordinary.
  const scale = (name: OptionName) =>
    taken(name, 1, (value) => checkNumber(name, value, 1e-30, 1e30));
  return {
    kind,
    tau: scale("tau"),
    lambda: scale("lambda"),
    maxCompletionLength: taken("maxCompletionLength", 1, (value) =>
      checkInteger("maxCompletionLength", value, 1, 2 ** 31 - 1),
    ),
    eps: taken("eps", 0, (value) => checkNumber("eps", value, 0)),
    ddof: taken("ddof", 0, (value) => checkInteger("ddof", value, 0, 1)),
    skipConstant: taken("skipConstant", false, (value) => checkBoolean("skipConstant", value)),
    beta: scale("beta"),
    labelSmoothing: taken("labelSmoothing", 0, (value) =>
      checkNumber("labelSmoothing", value, 0, 0.5),
    ),
    denominator:
      options.denominator === undefined
        ? 0
        : checkNumber("denominator", options.denominator, 0, Number.MAX_VALUE, true),
  };
}

function checkPairs(bounds: Offsets, kind: GroupLossKind): void {
  const offsets = offsetValues(bounds);
  for (let g = 0; g < bounds.rows; ++g) {
    const rows = offsets[g + 1]! - offsets[g]!;
    if (rows === 2) continue;
    const expected = `2 rows, the chosen one first (kind is "${kind}")`;
    throw invalid("ERR_SHAPE", `group ${g} of groupOffsets`, expected, rows);
  }
}

/**
 * TRL's metrics of preference losses, from the metrics of one call with kind dpo or ipo (or the sums of
 * several): rewards are beta times the scores; null where no pair was used.
 *
 * @param metrics in the order of `groupLossMetrics`
 */
export function preferenceMetrics(
  metrics: ArrayLike<number>,
  beta: number,
): Record<`rewards/${"chosen" | "rejected" | "accuracies" | "margins"}`, number | null> {
  checkArguments({ metrics, beta }, { metrics: numbers, beta: aNumber });
  const of = (name: (typeof groupLossMetrics)[number]) => metrics[groupLossMetrics.indexOf(name)]!;
  const pairs = of("groupsUsed");
  const mean = (sum: number) => (pairs > 0 ? sum / pairs : null);
  const [chosen, rejected] = [beta * of("positiveScoreSum"), beta * of("negativeScoreSum")];
  return {
    "rewards/chosen": mean(chosen),
    "rewards/rejected": mean(rejected),
    "rewards/accuracies": mean(of("groupsOrdered")),
    "rewards/margins": mean(chosen - rejected),
  };
}
