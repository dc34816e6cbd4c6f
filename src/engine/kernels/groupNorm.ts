import { checkChoice, checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import { type OffsetsLike, withOffsets } from "../offsets.js";
import type { Tensor } from "../tensor.js";

// The order of each list is the addon's numbering (native/kernels/group_norm/group_norm.h).
export const centers = ["none", "mean", "median"] as const;
export const scales = ["none", "std", "median-deviation"] as const;
export const scopes = ["group", "batch"] as const;

export interface GroupNormOptions {
  /** i32 [G + 1]: group g holds rows `groupOffsets[g]` to `groupOffsets[g + 1]`. Or `keys`. */
  groupOffsets?: OffsetsLike;
  /** One key a row: rows with equal keys form a group, wherever they stand. */
  keys?: readonly (string | number)[];
  /** u8 [R]: rows with 0 leave the statistics and get 0. */
  valid?: TensorLike | null;
  /** What is subtracted; default "mean". The median is the lower one for even counts. */
  center?: (typeof centers)[number];
  /** What is divided by; default "std". */
  scale?: (typeof scales)[number];
  /** Whether the scale is each group's or the whole batch's; default "group". */
  scope?: (typeof scopes)[number];
  /** Subtracted from the count under the root of std: 1 (default, as in TRL and verl) or 0. */
  ddof?: 0 | 1;
  /** Added to the scale, outside of the root; >= 0, default 1e-4 (TRL). */
  eps?: number;
}

export interface GroupNormResult {
  /** f32 [R] */
  advantage: Tensor;
  /** f32 [G]: what was subtracted; 0 for an empty group. */
  center: Tensor;
  /** f32 [G]: the scale before eps; 0 for a constant or empty group. */
  scale: Tensor;
}

/**
 * Advantages relative to the group: (value - center) / (scale + eps). Exactly 0 where all valid values
 * of a group are equal or fewer than two.
 *
 * @param values f32 [R]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function groupNorm(
  engine: Engine,
  values: TensorLike,
  options: GroupNormOptions,
): GroupNormResult {
  checkKeys("options", options, [
    "groupOffsets",
    "keys",
    "valid",
    "center",
    "scale",
    "scope",
    "ddof",
    "eps",
  ]);
  const center = centers.indexOf(checkChoice("center", options.center ?? "mean", centers));
  const scale = scales.indexOf(checkChoice("scale", options.scale ?? "std", scales));
  const scope = scopes.indexOf(checkChoice("scope", options.scope ?? "group", scopes));
  if (options.ddof !== undefined && options.scale !== undefined && options.scale !== "std") {
    throw invalid("ERR_OPTION", "ddof", `nothing (scale is "${options.scale}")`, options.ddof);
  }
  const ddof = checkInteger("ddof", options.ddof ?? 1, 0, 1);
  const eps = checkNumber("eps", options.eps ?? 1e-4, 0);
  if ((options.groupOffsets === undefined) === (options.keys === undefined)) {
    throw invalid("ERR_OPTION", "groups", "either groupOffsets or keys", options.keys);
  }
  return withInputs(engine, (inputs) => {
    const value = inputs.tensor("values", values, "f32", [null]);
    const rows = value.size;
    const grouping = options.keys === undefined ? null : byKey(options.keys, rows);
    const valid = inputs.optional("valid", options.valid, "u8", [rows]);
    const offsets = grouping?.offsets ?? options.groupOffsets!;
    return withOffsets(engine, "groupOffsets", offsets, (bounds, boundsHandle) => {
      if (bounds.total !== rows) {
        throw invalid("ERR_SHAPE", "groupOffsets", `offsets that end at ${rows}`, bounds.total);
      }
      const order = grouping === null ? null : inputs.tensor("keys", grouping.index, "i32", [rows]);
      const out = {
        advantage: engine.empty([rows]),
        center: engine.empty([bounds.rows]),
        scale: engine.empty([bounds.rows]),
      };
      engine.addon.groupNorm(
        engine.handle,
        rows,
        bounds.rows,
        center,
        scale,
        scope,
        ddof,
        eps,
        handle(value),
        handle(valid),
        boundsHandle,
        handle(order),
        handle(out.advantage),
        handle(out.center),
        handle(out.scale),
      );
      return out;
    });
  });
}

/** Rows sorted by the first appearance of their key, order within a key kept. */
function byKey(keys: unknown, rows: number): { offsets: Int32Array; index: Int32Array } {
  if (!Array.isArray(keys)) throw invalid("ERR_OPTION", "keys", "an array", keys);
  if (keys.length !== rows) throw invalid("ERR_SHAPE", "keys", `${rows} keys`, keys);
  const groups = new Map<unknown, number[]>();
  for (let row = 0; row < rows; ++row) {
    const key: unknown = keys[row];
    if (typeof key !== "string" && typeof key !== "number") {
      throw invalid("ERR_OPTION", `keys[${row}]`, "a string or a number", key);
    }
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [row]);
    else members.push(row);
  }
  const offsets = new Int32Array(groups.size + 1);
  const index = new Int32Array(rows);
  let at = 0;
  let group = 0;
  for (const members of groups.values()) {
    index.set(members, at);
    at += members.length;
    offsets[++group] = at;
  }
  return { offsets, index };
}
