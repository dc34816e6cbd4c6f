export interface GroupNormSetting {
  center: "none" | "mean" | "median" | "leave-one-out" | "ema";
  scale: "none" | "std" | "leave-one-out-std" | "mean-deviation" | "median-deviation" | "range";
  /** Whose scale divides; the centre is always the group's. */
  scope: "group" | "batch" | "blend";
  /** Taken off the count under the root of a std. */
  ddof: number;
  eps: number;
  /** scale + eps, sqrt(scale^2 + eps) or sqrt(max(scale^2, eps)). */
  epsPlacement: "outside" | "inside" | "floor";
  /** What divides where the scale is 0 though values differ: what eps makes of it, or 1. */
  zeroScale: "eps" | "one";
  /** What a valid value alone in its group gives: 0, or what centre 0 and scale 1 make of it. */
  singleton: "zero" | "value";
  /** Share of the batch's scale in scope "blend". */
  scopeBlend: number;
  /** The running mean of each group, and its share in center "ema". */
  ema: (group: number) => number;
  emaBlend: number;
}

export interface GroupNormValues {
  advantage: Float64Array;
  center: Float64Array;
  scale: Float64Array;
  /** By value: what its distance from the centre was divided by; 0 where the advantage is set to 0. */
  divisor: Float64Array;
}

const sum = (x: readonly number[]) => x.reduce((a, b) => a + b, 0);
const mean = (x: readonly number[]) => (isConstant(x) ? x[0]! : sum(x) / x.length);
const isConstant = (x: readonly number[]) => x.every((value) => value === x[0]);
const without = (x: readonly number[], i: number) => x.filter((_, j) => j !== i);

/** The lower one for even counts, as in torch. */
function median(x: readonly number[]): number {
  return Float64Array.from(x).sort()[Math.floor((x.length - 1) / 2)]!;
}

function std(x: readonly number[], ddof: number): number {
  if (x.length < 2 || isConstant(x)) return 0;
  const middle = mean(x);
  return Math.sqrt(sum(x.map((value) => (value - middle) ** 2)) / (x.length - ddof));
}

/** 0 for equal values and for fewer than two. */
function spread(x: readonly number[], { scale, ddof }: GroupNormSetting): number {
  if (x.length < 2 || isConstant(x)) return 0;
  switch (scale) {
    case "none":
      return 1;
    case "std":
    case "leave-one-out-std":
      return std(x, ddof);
    case "mean-deviation": {
      const middle = mean(x);
      return sum(x.map((value) => Math.abs(value - middle))) / x.length;
    }
    case "median-deviation": {
      const middle = median(x);
      return median(x.map((value) => Math.abs(value - middle)));
    }
    case "range":
      return x.reduce((a, b) => Math.max(a, b)) - x.reduce((a, b) => Math.min(a, b));
  }
}

function centerOf(x: readonly number[], setting: GroupNormSetting, group: number): number {
  if (x.length === 0) return 0;
  switch (setting.center) {
    case "none":
      return 0;
    case "mean":
    case "leave-one-out":
      return mean(x);
    case "median":
      return median(x);
    case "ema":
      return (1 - setting.emaBlend) * mean(x) + setting.emaBlend * setting.ema(group);
  }
}

function divisorOf(scale: number, setting: GroupNormSetting): number {
  if (setting.scale === "none") return 1;
  if (scale === 0 && setting.zeroScale === "one") return 1;
  switch (setting.epsPlacement) {
    case "outside":
      return scale + setting.eps;
    case "inside":
      return Math.sqrt(scale ** 2 + setting.eps);
    case "floor":
      return Math.sqrt(Math.max(scale ** 2, setting.eps));
  }
}

/**
 * (value - centre of the group) / divisor. Values that are invalid, alone in their group (but see
 * `singleton`), or in a group of equal values get exactly 0; so do those whose divisor is 0.
 *
 * @param groups the rows of each group
 */
export function groupNorm(
  values: ArrayLike<number>,
  groups: readonly (readonly number[])[],
  setting: GroupNormSetting,
  valid: ArrayLike<number> | null = null,
): GroupNormValues {
  const out: GroupNormValues = {
    advantage: new Float64Array(values.length),
    center: new Float64Array(groups.length),
    scale: new Float64Array(groups.length),
    divisor: new Float64Array(values.length),
  };
  const members = groups.map((rows) => rows.filter((row) => valid?.[row] !== 0));
  const batch = spread(
    members.flat().map((row) => values[row]!),
    setting,
  );
  const batchShare = { group: 0, batch: 1, blend: setting.scopeBlend }[setting.scope];
  for (const [g, rows] of members.entries()) {
    const x = rows.map((row) => values[row]!);
    const kept = x.length === 1 && setting.singleton === "value";
    out.center[g] = kept ? 0 : centerOf(x, setting, g);
    if (isConstant(x) && !kept) continue;
    out.scale[g] = kept ? 1 : (1 - batchShare) * spread(x, setting) + batchShare * batch;
    for (const [i, row] of rows.entries()) {
      const center =
        setting.center === "leave-one-out" && !kept ? mean(without(x, i)) : out.center[g]!;
      const scale =
        setting.scale === "leave-one-out-std" && !kept
          ? std(without(x, i), setting.ddof)
          : out.scale[g]!;
      out.divisor[row] = divisorOf(scale, setting);
      if (out.divisor[row] !== 0) out.advantage[row] = (x[i]! - center) / out.divisor[row]!;
    }
  }
  return out;
}
