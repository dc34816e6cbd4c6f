export interface GroupNormSetting {
  center: "none" | "mean" | "median";
  scale: "none" | "std" | "median-deviation";
  /** Whose scale divides; the centre is always the group's. */
  scope: "group" | "batch";
  /** Taken off the count under the root of std. */
  ddof: number;
  /** Added to the scale, outside of the root. */
  eps: number;
}

function mean(x: readonly number[]): number {
  return x.reduce((a, b) => a + b, 0) / x.length;
}

/** The lower one for even counts, as in torch. */
function median(x: readonly number[]): number {
  return [...x].sort((a, b) => a - b)[Math.floor((x.length - 1) / 2)]!;
}

function spread(x: readonly number[], setting: GroupNormSetting): number {
  if (x.length < 2 || x.every((value) => value === x[0])) return 0;
  if (setting.scale === "median-deviation") {
    const middle = median(x);
    return median(x.map((value) => Math.abs(value - middle)));
  }
  const middle = mean(x);
  const squares = x.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  return Math.sqrt(squares / (x.length - setting.ddof));
}

/**
 * (value - centre of the group) / (scale + eps); scale "none" does not divide. Rows that are invalid,
 * alone in their group, or in a group of equal values get exactly 0; so does a group whose divisor is 0.
 *
 * @param groups the rows of each group
 */
export function groupNorm(
  values: ArrayLike<number>,
  groups: readonly (readonly number[])[],
  setting: GroupNormSetting,
  valid: ArrayLike<number> | null = null,
): Float64Array {
  const advantage = new Float64Array(values.length);
  const members = groups.map((rows) => rows.filter((row) => valid?.[row] !== 0));
  const batch = members.flat().map((row) => values[row]!);
  for (const rows of members) {
    const x = rows.map((row) => values[row]!);
    if (x.length < 2 || x.every((value) => value === x[0])) continue;
    const center = setting.center === "none" ? 0 : setting.center === "mean" ? mean(x) : median(x);
    const divisor =
      setting.scale === "none"
        ? 1
        : spread(setting.scope === "group" ? x : batch, setting) + setting.eps;
    if (divisor === 0) continue;
    for (const row of rows) advantage[row] = (values[row]! - center) / divisor;
  }
  return advantage;
}
