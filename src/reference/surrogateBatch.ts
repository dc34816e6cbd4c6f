import type { SurrogateSetting } from "./surrogateSetting.js";

type Numbers = ArrayLike<number>;

/** As the kernel's inputs, as plain numbers. */
export interface SurrogateTokens {
  logProb: Numbers;
  oldLogProb?: Numbers | null;
  refLogProb?: Numbers | null;
  samplerLogProb?: Numbers | null;
  advantage?: Numbers | null;
  segmentAdvantage?: Numbers | null;
  tokenAdvantage?: Numbers | null;
  weight?: Numbers | null;
  rowLimits?: { low: Numbers; high: Numbers } | null;
  tokenLimits?: { low: Numbers; high: Numbers } | null;
  ratioScale?: Numbers | null;
  ratioBias?: Numbers | null;
  entropy?: Numbers | null;
  groupWeight?: Numbers | null;
  shaped?: Numbers | null;
  mask?: Numbers | null;
  rowOffsets: Numbers;
  segmentOffsets?: Numbers | null;
  groupOffsets?: Numbers | null;
}

/** The positions begin .. end - 1 of each part that the offsets bound. */
function parts(offsets: Numbers): number[][] {
  return Array.from({ length: offsets.length - 1 }, (_, i) =>
    Array.from({ length: offsets[i + 1]! - offsets[i]! }, (_, k) => offsets[i]! + k),
  );
}

/** Who belongs to whom: trained tokens by row and by segment, the row and segment of each token. */
export class Ragged {
  readonly rows: number[][];
  readonly segments: number[][];
  readonly rowOf: number[] = [];
  readonly segmentOf: number[] = [];

  constructor(tokens: SurrogateTokens) {
    const trained = (offsets: Numbers, of: number[]) =>
      parts(offsets).map((all, unit) => {
        for (const t of all) of[t] = unit;
        return all.filter((t) => tokens.mask?.[t] !== 0);
      });
    this.rows = trained(tokens.rowOffsets, this.rowOf);
    this.segments = trained(tokens.segmentOffsets ?? [0], this.segmentOf);
  }
}

export function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** The advantage that a token is judged by. */
export function advantageOf(tokens: SurrogateTokens, ragged: Ragged, t: number): number {
  if (tokens.tokenAdvantage) return tokens.tokenAdvantage[t]!;
  if (tokens.segmentAdvantage) return tokens.segmentAdvantage[ragged.segmentOf[t]!]!;
  return tokens.advantage![ragged.rowOf[t]!]!;
}

/** What each trained token's loss is multiplied by on its way into the one number; 0 on the others. */
export function tokenShares(
  tokens: SurrogateTokens,
  { rows }: Ragged,
  setting: SurrogateSetting,
): Float64Array {
  const shares = new Float64Array(tokens.logProb.length);
  const put = (some: readonly number[], share: number) => {
    for (const t of some) shares[t] = share;
  };
  const { aggregation, denominator, horizon } = setting;
  const active = rows.filter((row) => row.length > 0);
  const rowCount = denominator ?? (setting.emptyRows === "count" ? rows : active).length;
  const groups = parts(tokens.groupOffsets ?? [0]).map((all) =>
    all.filter((r) => rows[r]!.length > 0),
  );
  const groupCount = denominator ?? groups.filter((group) => group.length > 0).length;
  const tokensOf = (some: readonly number[]) => some.flatMap((r) => rows[r]!);
  switch (aggregation) {
    case "token-mean":
      put(rows.flat(), 1 / (denominator ?? rows.flat().length));
      break;
    case "token-sum":
      put(rows.flat(), 1 / (denominator ?? 1));
      break;
    case "seq-mean-token-mean":
      for (const row of active) put(row, 1 / (row.length * rowCount));
      break;
    case "seq-mean-token-sum":
      for (const row of active) put(row, 1 / rowCount);
      break;
    case "seq-mean-token-sum-norm":
      for (const row of active) put(row, 1 / (horizon! * rowCount));
      break;
    case "balanced":
      for (const group of groups) {
        for (const sign of [1, -1]) {
          const side = group.filter((r) => Math.sign(tokens.advantage![r]!) === sign);
          const own = tokensOf(side);
          put(own, side.length / group.length / (own.length * groupCount));
        }
      }
      break;
    case "group-weighted":
      for (const [g, group] of groups.entries()) {
        const own = tokensOf(group);
        put(own, (tokens.groupWeight?.[g] ?? 1) / (own.length * groupCount));
      }
  }
  return shares;
}
