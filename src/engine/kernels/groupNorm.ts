import { checkChoice, checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import { isTypedArray } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { groupByKey } from "../groupKeys.js";
import { checkDimensions, handle, type Inputs, type Out, withInputs } from "../inputs.js";
import type { OffsetsLike } from "../offsets.js";
import { Recent } from "../recent.js";
import type { Tensor } from "../tensor.js";
import {
  type Center,
  centers,
  checkCombination,
  type EpsPlacement,
  epsPlacements,
  inapplicable,
  type Scale,
  type Scope,
  type Singleton,
  scales,
  scopes,
  singletons,
  type ZeroScale,
  zeroScales,
} from "./groupNormTable.js";

/** Choices of `groupNorm`: which rows form a group, what is subtracted, what it is divided by. */
export interface GroupNormOptions {
  /** i32 [G + 1]: group g holds rows `groupOffsets[g]` to `groupOffsets[g + 1]`. Or `keys`. */
  groupOffsets?: OffsetsLike;
  /**
   * One key a row: rows with equal keys form a group, wherever they stand. Groups are numbered by
   * where their key first appears.
   */
  keys?: readonly (string | number)[];
  /** u8 [R], or shaped as the values: where it is 0, the value leaves the statistics and gets 0. */
  valid?: TensorLike | null;
  /**
   * What is subtracted; default "mean". "median": the lower one of an even count (MC-GRPO);
   * "leave-one-out": the mean of the group's other values (RLOO); "ema": (1 - emaBlend) mean + emaBlend
   * ema; "none": 0.
   */
  center?: Center;
  /** For center "ema": one number for all groups, or f32 shaped as the result's `center`. */
  ema?: number | TensorLike;
  /** For center "ema": its share beside the group's mean; in [0, 1], default 1. */
  emaBlend?: number;
  /**
   * What is divided by; default "std". "leave-one-out-std": the std of the group's other values
   * (NeMo-RL), with center "leave-one-out"; "mean-deviation": mean |x - mean| (DGPO); "median-deviation":
   * lower median of |x - median| (MC-GRPO); "range": max - min; "none": 1.
   */
  scale?: Scale;
  /**
   * Whose scale it is; default "group". "batch": one of all valid values of the column, as they are and
   * not as centred (TRL scale_rewards: batch); "blend": (1 - scopeBlend) group's + scopeBlend batch's.
   */
  scope?: Scope;
  /** For scope "blend": the share of the batch's scale; in [0, 1], default 0.5. */
  scopeBlend?: number;
  /** Taken off the count under the root of a std: 1 (default, as in TRL and verl) or 0. */
  ddof?: 0 | 1;
  /** Keeps the divisor from 0; >= 0, default 1e-4 (TRL). Not with scale "none". */
  eps?: number;
  /**
   * Where eps stands; default "outside": scale + eps. For the two stds also "inside": sqrt(std^2 + eps)
   * (verl's whitening) and "floor": sqrt(max(std^2, eps)) (OpenRLHF's).
   */
  epsPlacement?: EpsPlacement;
  /**
   * For "median-deviation" and "leave-one-out-std", which are often 0 though values differ (rewards
   * of 0 and 1): what divides then. "eps" (default), and where that is 0 the advantage is 0; "one": 1,
   * the value is only centred (NeMo-RL).
   */
  zeroScale?: ZeroScale;
  /** A valid value alone in its group gives 0 ("zero", default), or itself / (1 + eps) ("value", verl). */
  singleton?: Singleton;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<GroupNormResult>;
}

/** What `groupNorm` makes. R rows in G groups, K values a row. */
export interface GroupNormResult {
  /** f32, shaped as the values. */
  advantage: Tensor;
  /** f32 [G] or [G, K]: what was subtracted; for "leave-one-out" the group's mean; 0 for an empty group. */
  center: Tensor;
  /**
   * f32 [G] or [G, K]: the scale before eps; for "leave-one-out-std" the group's std; 0 for a constant
   * or empty group.
   */
  scale: Tensor;
}

const optionNames = [
  "groupOffsets",
  "keys",
  "valid",
  "center",
  "ema",
  "emaBlend",
  "scale",
  "scope",
  "scopeBlend",
  "ddof",
  "eps",
  "epsPlacement",
  "zeroScale",
  "singleton",
  "out",
] as const satisfies (keyof GroupNormOptions)[];

/** Default of eps (TRL). */
const defaultEps = 1e-4;

/** Everything but the groups and the data, checked and with defaults, in the order of the native call. */
function checkRule(options: GroupNormOptions) {
  const center = pick("center", options.center ?? "mean", centers);
  const scale = pick("scale", options.scale ?? "std", scales);
  const scope = pick("scope", options.scope ?? "group", scopes);
  const epsPlacement = pick("epsPlacement", options.epsPlacement ?? "outside", epsPlacements);
  const zeroScale = pick("zeroScale", options.zeroScale ?? "eps", zeroScales);
  const singleton = pick("singleton", options.singleton ?? "zero", singletons);
  for (const [name, condition] of Object.entries(inapplicable)) {
    const reason = condition({ center, scale, scope });
    const value = options[name as keyof typeof inapplicable];
    if (reason !== null && value !== undefined) {
      throw invalid("ERR_OPTION", name, `nothing (${reason})`, value);
    }
  }
  checkCombination({ center, scale, scope }, epsPlacement);
  const scalars = Float64Array.of(
    indexIn(centers, center),
    indexIn(scales, scale),
    indexIn(scopes, scope),
    indexIn(epsPlacements, epsPlacement),
    indexIn(zeroScales, zeroScale),
    indexIn(singletons, singleton),
    checkInteger("ddof", options.ddof ?? 1, 0, 1),
    checkNumber("eps", options.eps ?? defaultEps, 0),
    checkNumber("scopeBlend", options.scopeBlend ?? 0.5, 0, 1),
    checkNumber("emaBlend", options.emaBlend ?? 1, 0, 1),
  );
  return { center, scalars };
}

const recent = new Recent<ReturnType<typeof checkRule>>([
  ...["groupOffsets", "keys", "valid", "ema", "out"],
]);

/**
 * Advantages relative to the group: (value - center) / (scale + eps), each column by itself. Exactly 0
 * where all valid values of a group are equal or fewer than two, whatever the options (but
 * `singleton`). Whitening over trained tokens is this with one group, the mask as `valid` and
 * epsPlacement "inside" (verl) or "floor" with ddof 0 (OpenRLHF).
 *
 * Statistics are float64, the result is rounded once. A group's result depends on its own values
 * alone, and on the batch's scale where that is asked for. A valid value that is not finite makes its
 * own group NaN (in its column) and is reported (Engine's `onFault`).
 *
 * @param values f32 [R], or [R, K] for K columns normalised independently (GDPO, arXiv 2601.05242)
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION (also for combinations of center,
 *   scale and scope that make no sense), ERR_DISPOSED, ERR_OUT_OF_MEMORY
 * @example
 * const { advantage } = groupNorm(engine, rewards, { groupOffsets: [0, 8, 16], scale: "std", ddof: 1 });
 */
export function groupNorm(
  engine: Engine,
  values: TensorLike,
  options: GroupNormOptions,
): GroupNormResult {
  checkKeys("options", options, optionNames);
  const rule = recent.of(options, options.ema === undefined ? 0 : 1, (own) =>
    checkRule({ ...own, ema: options.ema }),
  );
  if ((options.groupOffsets === undefined) === (options.keys === undefined)) {
    throw invalid("ERR_OPTION", "groups", "either groupOffsets or keys", options.keys);
  }
  return withInputs(engine, (inputs) => {
    const value = inputs.tensor("values", values, "f32", null);
    const { shape } = value;
    if (shape.length !== 1 && shape.length !== 2) {
      throw invalid("ERR_SHAPE", "values", "shape [rows] or [rows, columns]", `[${shape}]`);
    }
    const [rows, columns = 1] = shape as [number, number?];
    const grouping = options.keys === undefined ? null : groupByKey(options.keys, rows);
    const valid = validity(inputs, options.valid, shape);
    const offsets = grouping?.offsets ?? options.groupOffsets!;
    const bounds = inputs.offsets("groupOffsets", offsets);
    if (bounds.total !== rows) {
      throw invalid("ERR_SHAPE", "groupOffsets", `offsets that end at ${rows}`, bounds.total);
    }
    const order = grouping === null ? null : inputs.tensor("keys", grouping.index, "i32", [rows]);
    const statistics = [bounds.rows, ...shape.slice(1)];
    const ema = emaOf(inputs, rule.center, options.ema, statistics);
    const out = inputs.results(options.out, {
      advantage: ["f32", shape],
      center: ["f32", statistics],
      scale: ["f32", statistics],
    });
    engine.addon.groupNorm(
      engine.handle,
      rows,
      bounds.rows,
      columns,
      rule.scalars,
      ema.ofAll,
      valid !== null && valid.shape.length === 2,
      handle(value),
      handle(valid),
      handle(bounds),
      handle(order),
      handle(ema.each),
      handle(out.advantage),
      handle(out.center),
      handle(out.scale),
    );
    return out;
  });
}

function pick<T extends string>(name: string, value: unknown, of: Readonly<Record<T, string>>): T {
  return checkChoice(name, value, Object.keys(of) as T[]);
}

/** The native number of a choice. */
function indexIn(choices: object, choice: string): number {
  return Object.keys(choices).indexOf(choice);
}

/** One a row, or one a value. */
function validity(
  inputs: Inputs,
  valid: TensorLike | null | undefined,
  shape: readonly number[],
): Tensor | null {
  const perRow = shape.slice(0, 1);
  if (isTypedArray(valid) || Array.isArray(valid)) {
    return inputs.tensor("valid", valid, "u8", valid.length === perRow[0] ? perRow : shape);
  }
  const tensor = inputs.optional("valid", valid, "u8", null);
  if (tensor !== null) {
    checkDimensions("valid", tensor.shape, tensor.shape.length === 1 ? perRow : shape);
  }
  return tensor;
}

const MAX_FLOAT = (2 - 2 ** -23) * 2 ** 127;

function emaOf(
  inputs: Inputs,
  center: Center,
  ema: GroupNormOptions["ema"],
  shape: readonly number[],
): { ofAll: number; each: Tensor | null } {
  if (center !== "ema") return { ofAll: 0, each: null };
  if (ema === undefined) {
    throw invalid("ERR_OPTION", "ema", 'a number or a tensor (center is "ema")', ema);
  }
  return typeof ema === "number"
    ? { ofAll: checkNumber("ema", ema, -MAX_FLOAT, MAX_FLOAT), each: null }
    : { ofAll: 0, each: inputs.tensor("ema", ema, "f32", shape) };
}
