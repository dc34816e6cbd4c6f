import { advantageOf, type Ragged, type SurrogateTokens, sum } from "./surrogateBatch.js";
import type { SurrogateSetting } from "./surrogateSetting.js";

/** The ratio of one token, by which its loss is weighed. */
export interface TokenRatio {
  /** rho, and what it was at the base point, for sg(.). */
  ratio: number;
  frozen: number;
  /** d log rho of the unit / d logProb of this token. */
  slope: number;
}

/** [low, high] of a token: given, or 1 -/+ epsilon of a ratio, -/+ epsilon of a difference. */
export function limitsOf(
  tokens: SurrogateTokens,
  row: number,
  t: number,
  setting: SurrogateSetting,
): { low: number; high: number } {
  const { rowLimits, tokenLimits } = tokens;
  if (rowLimits) return { low: rowLimits.low[row]!, high: rowLimits.high[row]! };
  if (tokenLimits) return { low: tokenLimits.low[t]!, high: tokenLimits.high[t]! };
  if (setting.clipRange) return { low: setting.clipRange[0], high: setting.clipRange[1] };
  const { form, epsilon = form === "gmpo" ? 0.4 : 0.2, epsilonHigh = epsilon } = setting;
  const center = form === "gmpo" || form === "dppo-tv" ? 0 : 1;
  return { low: center - epsilon, high: center + epsilonHigh };
}

/** log p - log p_old under some log-probs, or scale (log p - log p_old + bias). */
export function logRatio(tokens: SurrogateTokens, logProb: ArrayLike<number>, t: number): number {
  const { oldLogProb, ratioScale, ratioBias } = tokens;
  return (ratioScale?.[t] ?? 1) * (logProb[t]! - oldLogProb![t]! + (ratioBias?.[t] ?? 0));
}

const inside = (x: number, [low, high]: readonly [number, number]) =>
  Math.min(Math.max(x, low), high);

/** Tokens whose gradients come through one ratio: those of a unit at pooled levels, else each alone. */
export function unitsOf(ragged: Ragged, level: SurrogateSetting["level"]): number[][] {
  if (level === "segment") return ragged.segments;
  if (level === "sequence" || level === "sequence-product") return ragged.rows;
  return ragged.rows.flat().map((t) => [t]);
}

/** VESPO as in TRL: log-ratios within +-20, the total of the row in [log 1e-8, 20]. */
const vespoTotal = [Math.log(1e-8), 20] as const;

/** The logs of a row's mismatch weights, which VESPO adds to its log-ratio; a row's one weight once. */
function logMismatch(
  unit: readonly number[],
  weights: ArrayLike<number>,
  { mismatch = "none" }: SurrogateSetting,
): number {
  const logs = unit.map((t) => inside(Math.log(weights[t]!), vespoTotal));
  return mismatch.startsWith("sequence") ? (logs[0] ?? 0) : sum(logs);
}

/**
 * The ratio of every trained token.
 *
 * @param base log-probs of the base point
 * @param mismatchWeight by token, for VESPO
 */
export function ratiosOf(
  tokens: SurrogateTokens,
  ragged: Ragged,
  setting: SurrogateSetting,
  base: ArrayLike<number>,
  mismatchWeight: ArrayLike<number>,
): Map<number, TokenRatio> {
  const { logProb } = tokens;
  const { level = "token", form, logRatioClamp = [-Infinity, Infinity] } = setting;
  const out = new Map<number, TokenRatio>();
  for (const row of level === "none" ? ragged.rows : []) {
    for (const t of row) {
      out.set(t, { ratio: Math.exp(logProb[t]! - base[t]!), frozen: 1, slope: 1 });
    }
  }
  if (level === "none") return out;

  /** A token's log-ratio as it enters its unit's. */
  const entering = (at: ArrayLike<number>, t: number) => {
    const x = inside(logRatio(tokens, at, t), logRatioClamp);
    if (form === "vespo") return inside(x, [-20, 20]);
    if (form !== "gmpo") return x;
    const { low, high } = limitsOf(tokens, ragged.rowOf[t]!, t, setting);
    const advantage = advantageOf(tokens, ragged, t);
    return advantage > 0 ? Math.min(x, high) : advantage < 0 ? Math.max(x, low) : x;
  };
  const slopeOf = (t: number) =>
    entering(logProb, t) === logRatio(tokens, logProb, t) ? (tokens.ratioScale?.[t] ?? 1) : 0;
  const total = (unit: readonly number[], at: ArrayLike<number>) => {
    const x = sum(unit.map((t) => entering(at, t)));
    return form === "vespo"
      ? inside(x + logMismatch(unit, mismatchWeight, setting), vespoTotal)
      : x;
  };

  const wide = level === "sequence-token" ? ragged.rows : unitsOf(ragged, level);
  for (const unit of wide) {
    const part = level === "sequence-product" ? 1 : 1 / unit.length;
    const logRho = part * total(unit, logProb);
    const held = part * total(unit, base);
    for (const t of unit) {
      if (level === "sequence-token") {
        // sg(s) exp(lp - sg(lp)): the sequence's value, the token's own gradient.
        const moved = entering(logProb, t) - entering(base, t);
        const [ratio, frozen] = [Math.exp(held + moved), Math.exp(held)];
        out.set(t, { ratio, frozen, slope: slopeOf(t) });
      } else {
        const [ratio, frozen] = [Math.exp(logRho), Math.exp(held)];
        out.set(t, { ratio, frozen, slope: part * slopeOf(t) });
      }
    }
  }
  return out;
}
