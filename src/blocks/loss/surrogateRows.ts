import type { Column, Trajectory } from "../../contract/data.js";
import type { LossBatch } from "../../contract/loss.js";
import { show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import type { SurrogateInputs } from "../../engine/kernels/surrogateArguments.js";
import { concatenate, offsetsOf } from "../../engine/ragged.js";
import { perAction } from "../columns.js";

type Rows = readonly Trajectory[];

/** A column of all rows at the granularity of actions: f32 [T]. */
export function actionColumn(rows: Rows, name: string, missing?: Column): Float32Array {
  return concatenate(
    Float32Array,
    rows.map(({ columns, actions }) =>
      perAction(name, (columns[name] ?? missing)!, actions.length),
    ),
  );
}

/** A column that has one number in every row, f32 [R]; null where a row has more than one. */
export function rowColumn(rows: Rows, name: string): Float32Array | null {
  const values = rows.map(({ columns: { [name]: c } }) => (c?.level === "row" ? c.value : null));
  return values.includes(null) ? null : Float32Array.from(values as number[]);
}

/** Advantages by segment: a row without segments of its own is one. */
function segmentAdvantages(rows: Rows) {
  const parts = rows.map(({ columns, actions }) => {
    const own = columns.advantage!;
    if (own.level === "row") return { values: [own.value], lengths: [actions.length] };
    if (own.level === "action") {
      throw new FiresteelError(
        "ERR_OPTION",
        'Expected advantages by row or segment (level is "segment") but received them by action',
      );
    }
    perAction("advantage", own, actions.length); // checks the bounds
    const lengths = [...own.values].map((_, s) => own.bounds[s + 1]! - own.bounds[s]!);
    return { values: [...own.values], lengths };
  });
  return {
    segmentAdvantage: Float32Array.from(parts.flatMap(({ values }) => values)),
    segmentOffsets: offsetsOf(parts.flatMap(({ lengths }) => lengths)),
  };
}

/** `advantage` [R] where each row has one number, else `tokenAdvantage` [T]; segments at their level. */
export function advantageInput(
  rows: Rows,
  level: string,
): Pick<SurrogateInputs, "advantage" | "tokenAdvantage" | "segmentAdvantage" | "segmentOffsets"> {
  if (level === "segment") return segmentAdvantages(rows);
  const advantage = rowColumn(rows, "advantage");
  return advantage === null ? { tokenAdvantage: actionColumn(rows, "advantage") } : { advantage };
}

/** `weight` [T], 1 where a row has none, or null where no row has any. */
export function weightInput(rows: Rows): Float32Array | null {
  const weighted = rows.some(({ columns }) => columns.weight !== undefined);
  return weighted ? actionColumn(rows, "weight", { level: "row", value: 1 }) : null;
}

/** The columns "clipLow" and "clipHigh", by row where each row has one number of each. */
export function limitInput(rows: Rows): Pick<SurrogateInputs, "rowLimits" | "tokenLimits"> {
  const [low, high] = [rowColumn(rows, "clipLow"), rowColumn(rows, "clipHigh")];
  if (low !== null && high !== null) return { rowLimits: { low, high } };
  return {
    tokenLimits: { low: actionColumn(rows, "clipLow"), high: actionColumn(rows, "clipHigh") },
  };
}

/** u8 [R]: rows whose column "shaped" is 1. */
export function shapedInput(rows: Rows): Uint8Array {
  return Uint8Array.from(rows, ({ columns: { shaped } }) =>
    shaped?.level === "row" && shaped.value === 1 ? 1 : 0,
  );
}

/**
 * f32 [G]: the column "groupWeight", which the rows of a group agree in.
 *
 * @throws FiresteelError ERR_OPTION where they do not
 */
export function groupWeightInput({
  rows,
  groupOffsets,
}: Pick<LossBatch, "rows" | "groupOffsets">): Float32Array {
  const weights = rowColumn(rows, "groupWeight");
  return Float32Array.from({ length: groupOffsets.length - 1 }, (_, g) => {
    const own = [...(weights ?? [])].slice(groupOffsets[g], groupOffsets[g + 1]);
    if (own.length > 0 && own.every((weight) => weight === own[0])) return own[0]!;
    throw new FiresteelError(
      "ERR_OPTION",
      `Expected one number in column "groupWeight" for all rows of a group but received ${show(own.join(", "))}`,
    );
  });
}
