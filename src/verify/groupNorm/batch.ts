import type { Engine } from "../../engine/engine.js";
import { type GroupNormOptions, groupNorm } from "../../engine/kernels/groupNorm.js";
import {
  type GroupNormChoices,
  groupNormTable,
  inapplicable,
} from "../../engine/kernels/groupNormTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import {
  type GroupNormSetting,
  type GroupNormValues,
  groupNorm as reference,
} from "../../reference/groupNorm.js";
import { firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { Random } from "../inputs.js";

export const family = "group-norm";

/** Ragged groups: empty, alone, in pairs, of 5 and of many. */
export const ragged = [0, 1, 2, 2, 8, 0, 5, 16, 8, 33, 3, 1];

const normal = (random: Random) => random.normal();
/** By group: one is constant, others are graded and binary as verifiers' rewards are: ties are the rule. */
const reward: Readonly<Record<number, (random: Random) => number>> = {
  4: () => 0.3,
  7: (random) => random.integer(4) / 3,
  8: (random) => random.integer(2),
};

export interface Batch {
  /** [R, K], or [R] where K is 1. */
  values: Float32Array;
  columns: number;
  lengths: readonly number[];
  /** The row that stands at each position of the group order. */
  order: readonly number[];
  valid: Uint8Array | null;
  /** [G, K] */
  ema: Float32Array;
}

export interface BatchOptions {
  seed: number;
  /** Of the groups. */
  lengths?: readonly number[];
  columns?: number;
  shift?: number;
  /** No missing values, whole rows, or single values. */
  missing?: "rows" | "values";
  scattered?: boolean;
}

export function batch(options: BatchOptions): Batch {
  const { seed, lengths = ragged, columns = 1, shift = 0, missing, scattered = false } = options;
  const random = new Random(seed);
  const rows = lengths.reduce((a, b) => a + b, 0);
  const order = scattered ? random.permutation(rows) : Array.from({ length: rows }, (_, i) => i);
  const rewards = new Float32Array(rows * columns);
  let at = 0;
  for (const [g, length] of lengths.entries()) {
    for (let i = 0; i < length; ++i, ++at) {
      for (let k = 0; k < columns; ++k) {
        rewards[order[at]! * columns + k] = shift + (reward[g] ?? normal)(random);
      }
    }
  }
  return {
    values: rewards,
    columns,
    lengths,
    order,
    valid: missing === undefined ? null : random.mask(missing === "rows" ? rows : rewards.length),
    ema: random.normals(lengths.length * columns),
  };
}

/** The rows of each group. */
export function groupsOf({ lengths: sizes, order }: Batch): number[][] {
  const bounds = offsetsOf(sizes);
  return sizes.map((_, g) => order.slice(bounds[g], bounds[g + 1]));
}

type Given = Omit<GroupNormOptions, "groupOffsets" | "keys" | "valid">;

/** What a call is told: everything that applies. */
export function optionsOf(setting: GroupNormSetting, ema: GroupNormOptions["ema"]): Given {
  const given: Record<string, unknown> = { ...setting, ema };
  for (const [name, condition] of Object.entries(inapplicable)) {
    if (condition(setting) !== null) delete given[name];
  }
  return given;
}

export function call(engine: Engine, b: Batch, setting: GroupNormSetting) {
  const { columns } = b;
  const rows = b.order.length;
  const contiguous = b.order.every((row, i) => row === i);
  // Empty groups have no key: keyed groups are those with rows.
  const groups = groupsOf(b);
  const keys: string[] = [];
  for (const [g, members] of groups.entries()) for (const row of members) keys[row] = `group ${g}`;
  const numbered = contiguous ? groups.map((_, g) => g) : [...new Set(keys)].map(groupNumber);
  const ema = Float32Array.from(
    numbered.flatMap((g) => [...b.ema.subarray(g * columns, (g + 1) * columns)]),
  );
  const values = columns === 1 ? b.values : engine.tensor(b.values, [rows, columns]);
  const result = groupNorm(engine, values, {
    ...optionsOf(setting, columns === 1 ? ema : engine.tensor(ema, [numbered.length, columns])),
    ...(contiguous ? { groupOffsets: offsetsOf(b.lengths) } : { keys }),
    valid: b.valid,
  });
  return { ...result, numbered };
}

const groupNumber = (key: string) => Number(key.slice("group ".length));

/**
 * "The float64 formula rounded once to float": one rounding of the result, and what float64 itself loses
 * in sums of n values (groupNormTable).
 */
function tolerance(b: Batch, want: GroupNormValues): (index: number) => number {
  const largest = b.values.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1);
  const float64 = b.order.length * 2 ** -50 * largest;
  const rounding = groupNormTable.tolerances[0]!.cpu;
  return (i) => {
    const size = Math.abs(want.advantage[i]!);
    return want.divisor[i] === 0 ? 0 : rounding * size + (float64 * (1 + size)) / want.divisor[i]!;
  };
}

export function checkValues(engine: Engine, b: Batch, setting: GroupNormSetting): string | null {
  const got = call(engine, b, setting);
  const groups = groupsOf(b);
  const rows = b.order.length;
  const column = (data: ArrayLike<number>, k: number) =>
    Float64Array.from({ length: data.length / b.columns }, (_, i) => data[i * b.columns + k]!);
  for (let k = 0; k < b.columns; ++k) {
    const valid = b.valid !== null && b.valid.length !== rows ? column(b.valid, k) : b.valid;
    const ema = (g: number) => b.ema[g * b.columns + k]!;
    const want = reference(column(b.values, k), groups, { ...setting, ema }, valid);
    const close32 = (what: string, tensor: typeof got.center, of: Float64Array) =>
      close(
        `${what}, column ${k}`,
        column(values(tensor), k),
        got.numbered.map((g) => of[g]!),
        (i) => 2 ** -24 * Math.abs(of[got.numbered[i]!]!) + rows * 2 ** -50,
      );
    const finding = firstOf(
      close(
        `advantage, column ${k}`,
        column(values(got.advantage), k),
        want.advantage,
        tolerance(b, want),
      ),
      close32("center", got.center, want.center),
      close32("scale", got.scale, want.scale),
    );
    if (finding !== null) return finding;
  }
  return null;
}

export const grpo: GroupNormSetting = {
  center: "mean",
  scale: "std",
  scope: "group",
  ddof: 1,
  eps: 1e-4,
  epsPlacement: "outside",
  zeroScale: "eps",
  singleton: "zero",
  scopeBlend: 0.3,
  ema: () => 0,
  emaBlend: 0.6,
};

/** Every legal centre, scale and scope. */
export const combinations: readonly GroupNormSetting[] = groupNormTable.combinations
  .filter(({ refusal }) => refusal === null)
  .map(({ choices }) => ({ ...grpo, ...(choices as unknown as GroupNormChoices) }));

export function label({ center, scale, scope }: GroupNormSetting): string {
  return `center ${center}, scale ${scale} of ${scope}`;
}

/** More rows than one thread, or one warp of the emulated card, takes at once. */
export const bigGroup = (device: Engine["device"]) => (device === "emulated" ? 1500 : 20_000);
