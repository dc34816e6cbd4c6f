import type { Engine } from "../../engine/engine.js";
import {
  type SurrogateMetric,
  surrogate,
  surrogateMetrics,
} from "../../engine/kernels/surrogate.js";
import type { SurrogateOptions } from "../../engine/kernels/surrogateArguments.js";
import {
  type AdvantageUnit,
  advantageInputs,
  groupedAggregations,
} from "../../engine/kernels/surrogateTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import { values } from "../compare.js";
import { Random } from "../inputs.js";

export const family = "surrogate";

export interface Limits {
  low: Float32Array;
  high: Float32Array;
}

/** Data that the kernel and the reference take as it is. */
export interface TokenBatch {
  logProb: Float32Array;
  oldLogProb?: Float32Array;
  refLogProb?: Float32Array;
  samplerLogProb?: Float32Array;
  advantage?: Float32Array;
  segmentAdvantage?: Float32Array;
  tokenAdvantage?: Float32Array;
  weight?: Float32Array;
  rowLimits?: Limits;
  tokenLimits?: Limits;
  ratioScale?: Float32Array;
  ratioBias?: Float32Array;
  entropy?: Float32Array;
  groupWeight?: Float32Array;
  shaped?: Uint8Array;
  mask?: Uint8Array;
  rowOffsets: Int32Array;
  segmentOffsets?: Int32Array;
  groupOffsets?: Int32Array;
}

export interface BatchShape {
  seed?: number;
  /** Tokens of each row. */
  lengths?: readonly number[];
  /** Rows of each group; they add up to the rows. Default: threes, with an empty group among them. */
  groups?: readonly number[];
  advantage?: AdvantageUnit;
  masked?: boolean;
  weighted?: boolean;
  /** Every second row. */
  shaped?: boolean;
  normalised?: boolean;
  entropy?: boolean;
  sampler?: boolean;
  limits?: "row" | "token";
  /** Spread of log rho; 0.3 puts it on both sides of the usual clip range. */
  spread?: number;
  /** Spread of the difference to the reference. */
  refSpread?: number;
}

/** Rows of a batch: empty ones, single tokens, long ones. */
const ragged = [3, 0, 1, 17, 40, 5, 0, 64, 1, 9];

/** Segments of up to seven tokens, with empty ones at the front and after every third. */
function segmentsOf(random: Random, lengths: readonly number[]): Int32Array {
  const segments = [0];
  for (const length of lengths) {
    for (let left = length; left > 0; ) {
      const own = Math.min(left, 1 + random.integer(7));
      segments.push(own);
      if (segments.length % 3 === 0) segments.push(0);
      left -= own;
    }
  }
  return offsetsOf(segments);
}

function groupsOf(rows: number): number[] {
  const groups = Array.from({ length: Math.ceil(rows / 3) }, (_, g) => Math.min(3, rows - 3 * g));
  return groups.toSpliced(1, 0, 0);
}

/** Random inputs, all that the options call for and no more. */
export function tokenBatch(options: SurrogateOptions, shape: BatchShape = {}): TokenBatch {
  const random = new Random(shape.seed ?? 1);
  const lengths = shape.lengths ?? ragged;
  const { level = "token", form = "clip", mismatch = "none", beta = 0 } = options;
  const rowOffsets = offsetsOf(lengths);
  const tokens = rowOffsets.at(-1)!;
  const logProb = random.normals(tokens).map((x) => -Math.abs(x) * 2);
  const b: TokenBatch = { logProb, rowOffsets };
  const near = (spread: number) => logProb.map((x) => x + spread * random.normal());

  // A shift that the tokens of a row share, so that ratios of whole rows differ from 1 too.
  b.oldLogProb = near(shape.spread ?? 0.3);
  for (const [r, length] of lengths.entries()) {
    const shift = (shape.spread ?? 0.3) * random.normal();
    for (let t = rowOffsets[r]!; t < rowOffsets[r + 1]!; ++t) {
      const distance = b.oldLogProb[t]! - logProb[t]! + shift;
      b.oldLogProb[t] = logProb[t]! + (level === "sequence-product" ? distance / length : distance);
    }
  }
  if (beta > 0) b.refLogProb = near(shape.refSpread ?? 0.5);
  if (shape.sampler || mismatch !== "none") {
    const perRow = /^sequence/.test(mismatch);
    b.samplerLogProb = b.oldLogProb.map((x) => x + (perRow ? 0.1 : 0.5) * random.normal());
  }
  const segments = level === "segment" ? segmentsOf(random, lengths) : null;
  if (segments !== null) b.segmentOffsets = segments;
  const unit = shape.advantage ?? "row";
  const units = { row: lengths.length, segment: (segments?.length ?? 1) - 1, token: tokens }[unit];
  b[advantageInputs[unit]] = random.normals(units);
  if (shape.limits !== undefined) {
    const count = shape.limits === "row" ? lengths.length : tokens;
    const center = form === "gmpo" || form === "dppo-tv" ? 0 : 1;
    const reach = () => random.normals(count).map((x) => Math.min(0.9, 0.3 * Math.abs(x)));
    b[`${shape.limits}Limits`] = {
      low: reach().map((x) => center - x),
      high: reach().map((x) => center + x),
    };
  }
  if (shape.normalised) {
    b.ratioScale = random.normals(tokens).map((x) => 0.2 + Math.abs(x));
    b.ratioBias = random.normals(tokens, 0.2);
  }
  if (shape.entropy) b.entropy = random.normals(tokens).map(Math.abs);
  if (shape.weighted) b.weight = random.normals(tokens).map(Math.abs);
  if (shape.masked) b.mask = random.mask(tokens);
  if (shape.shaped) b.shaped = Uint8Array.from(lengths, (_, r) => r % 2);
  if (groupedAggregations.includes(options.aggregation)) {
    const groups = shape.groups ?? groupsOf(lengths.length);
    b.groupOffsets = offsetsOf(groups);
    if (options.aggregation === "group-weighted") {
      b.groupWeight = random.normals(groups.length).map((x) => 0.5 + Math.abs(x));
    }
  }
  if (level === "none" && options.shapeBase !== "old" && mismatch === "none") delete b.oldLogProb;
  return b;
}

/** An aggregation with the option that it needs. */
export function aggregated(
  aggregation: SurrogateOptions["aggregation"],
  more: Partial<SurrogateOptions> = {},
): SurrogateOptions {
  const horizon = aggregation === "seq-mean-token-sum-norm" ? { horizon: 64 } : {};
  return { ...more, aggregation, ...horizon };
}

/** One call, read back. */
export function call(engine: Engine, b: TokenBatch, options: SurrogateOptions) {
  const result = surrogate(engine, b, options);
  const metrics = values(result.metrics);
  const read = (tensor: typeof result.dEntropy) => (tensor === null ? null : values(tensor));
  return {
    loss: values(result.loss)[0]!,
    dLogProb: values(result.dLogProb),
    bits: result.dLogProb.readSync() as Float32Array,
    dEntropy: read(result.dEntropy),
    dRatioBias: read(result.dRatioBias),
    mismatchWeight: read(result.mismatchWeight),
    metric: (name: SurrogateMetric) => metrics[surrogateMetrics.indexOf(name)]!,
  };
}

type Numbers = Float32Array | Uint8Array;

/** What an input has one value of. */
export const perToken = [
  ...(["logProb", "oldLogProb", "refLogProb", "samplerLogProb", "tokenAdvantage"] as const),
  ...(["weight", "ratioScale", "ratioBias", "entropy", "mask"] as const),
];
const perRow = ["advantage", "shaped"] as const;

/**
 * The batch of some rows in some order. Groups, where there are any, come along: `rows` must keep each
 * group's rows together, and `groups` says which groups those are, in order.
 */
export function rowsOf(
  b: TokenBatch,
  rows: readonly number[],
  groups: readonly number[] = [],
): TokenBatch {
  const at = (r: number) => [b.rowOffsets[r]!, b.rowOffsets[r + 1]!] as const;
  const own = rows.flatMap((r) => range(...at(r)));
  const pick = <T extends Numbers>(from: T, indices: readonly number[]) => {
    const out = from.slice(0, indices.length) as T;
    for (const [i, index] of indices.entries()) out[i] = from[index]!;
    return out;
  };
  const out: TokenBatch = {
    logProb: pick(b.logProb, own),
    rowOffsets: offsetsOf(rows.map((r) => at(r)[1] - at(r)[0])),
  };
  const put = (names: readonly (keyof TokenBatch)[], indices: readonly number[]) => {
    for (const name of names) {
      const value = b[name] as Numbers | undefined;
      if (value !== undefined) Object.assign(out, { [name]: pick(value, indices) });
    }
  };
  put(perToken, own);
  put(perRow, rows);
  for (const [name, indices] of [
    ["rowLimits", rows],
    ["tokenLimits", own],
  ] as const) {
    const value = b[name];
    if (value) out[name] = { low: pick(value.low, indices), high: pick(value.high, indices) };
  }
  if (b.segmentOffsets) {
    const bounds = b.segmentOffsets;
    // Empty segments, which may stand between rows, are left behind.
    const segments = rows.flatMap((r) => {
      const [begin, end] = at(r);
      return range(0, bounds.length - 1).filter(
        (s) => bounds[s]! >= begin && bounds[s + 1]! <= end && bounds[s + 1]! > bounds[s]!,
      );
    });
    out.segmentOffsets = offsetsOf(segments.map((s) => bounds[s + 1]! - bounds[s]!));
    if (b.segmentAdvantage) out.segmentAdvantage = pick(b.segmentAdvantage, segments);
  }
  if (b.groupOffsets) {
    const bounds = b.groupOffsets;
    out.groupOffsets = offsetsOf(groups.map((g) => bounds[g + 1]! - bounds[g]!));
    if (b.groupWeight) out.groupWeight = pick(b.groupWeight, groups);
  }
  return out;
}

export function range(begin: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - begin) }, (_, i) => begin + i);
}

/** The rows of some groups. */
export function groupRows(b: TokenBatch, groups: readonly number[]): number[] {
  return groups.flatMap((g) => range(b.groupOffsets![g]!, b.groupOffsets![g + 1]!));
}
