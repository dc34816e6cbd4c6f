import { divergenceTable } from "../../engine/kernels/divergenceTable.js";
import { type DivergenceResult, outcomesOf, shareOf } from "../../reference/divergence.js";
import { F32_ROUNDING } from "../compare.js";
import { rounding } from "../inputs.js";
import { type DivergenceCase, rowOf } from "./cases.js";

const [eightRoundings, twoRoundings] = divergenceTable.tolerances.map(({ cpu }) => cpu) as [
  number,
  number,
];

/** Probabilities below it may count as 0. */
const LEAST_FLOAT = 2 ** -126;
/** What sums of terms of order 1 lose in float64, on either side. */
const FLOAT64 = 1e-13;

/** How far the divergence of a row, and each element of its gradient, may be off. */
export interface RowTolerance {
  divergence: number;
  gradient: (v: number) => number;
}

/**
 * The contract of divergence.h, from the row's distributions. A token's logits are known to eight
 * roundings of z, its depth -log min(p, q).
 */
export function rowTolerance(c: DivergenceCase, t: number, want: DivergenceResult): RowTolerance {
  const { setting, vocab } = c;
  const { kind, weight, support } = setting;
  const row = rowOf(c, t);
  const { p, outcomes } = outcomesOf(row, setting);
  const z = new Float64Array(vocab);
  const pull = new Float64Array(vocab); // P g of the token, by its share of the outcome
  let terms = 0;
  for (const outcome of outcomes) {
    const { logP, logQ, q, tokens } = outcome;
    const mass = Math.exp(logP);
    const share = shareOf(outcome, setting);
    const depth = Math.max(0, ...[logP, q === 0 ? 0 : logQ].filter(Number.isFinite).map((x) => -x));
    // The non-negative form of a KL's term has q - p or p - q less, by the kinds' weights.
    const forward = kind === "forward" ? 1 : kind === "mixed" ? weight : 0.5;
    const excess = kind === "jsd" ? 0 : (2 * forward - 1) * (mass - q);
    terms += (1 + depth) * (Math.abs(share.value + excess) + Math.abs(mass - q));
    for (const v of tokens) {
      z[v] = depth;
      pull[v] = share.pull * (tokens.length === 1 ? 1 : p[v]! / mass);
    }
  }
  const conditioned =
    kind === "jsd" ? eightRoundings / Math.min(weight, 1 - weight) : eightRoundings;
  const outside = outsideOf(p, pull, row.ids);
  const pulls = pull.reduce((sum, x) => sum + Math.abs(x), 0);
  const above = Math.abs(c.dDivergence[t]!);
  return {
    divergence:
      (row.ids === null
        ? conditioned * terms + F32_ROUNDING * Math.abs(want.divergence)
        : twoRoundings * Math.abs(want.divergence) +
          eightRoundings * (1 + outside.depth) * outside.moves(support === "floor")) +
      FLOAT64 * (1 + pulls),
    gradient: (v) => {
      const size = p[v]! * (1 + pulls) + Math.abs(pull[v]!);
      const arithmetic = conditioned * (1 + z[v]! + outside.depth) * size;
      const exact = Math.abs(want.gradient[v]!);
      const tiny = c.studentDtype === "f16" ? 2 ** -25 : LEAST_FLOAT;
      return above * (arithmetic / setting.temperature + rounding[c.studentDtype] * exact) + tiny;
    },
  };
}

/**
 * The student's tokens outside of the k: their mean depth, and what the divergence moves by when their
 * mass grows by a factor e, which takes from the others: sum of P g d log P.
 */
function outsideOf(p: Float64Array, pull: Float64Array, ids: ArrayLike<number> | null) {
  const top = new Set(ids === null ? p.keys() : Array.from(ids));
  const sums = { mass: 0, depth: 0, top: 0, rest: 0, restSize: 0 };
  for (let v = 0; v < p.length; ++v) {
    if (top.has(v)) sums.top += pull[v]!;
    else if (p[v]! > 0) {
      sums.mass += p[v]!;
      sums.depth -= p[v]! * Math.log(p[v]!);
      sums.rest += pull[v]!;
      sums.restSize += Math.abs(pull[v]!);
    }
  }
  return {
    depth: sums.mass === 0 ? 0 : sums.depth / sums.mass,
    /** One by one: each of their masses with an error of its own. */
    moves: (oneByOne: boolean) =>
      oneByOne
        ? sums.mass * Math.abs(sums.top) + sums.restSize
        : Math.abs((1 - sums.mass) * sums.rest - sums.mass * sums.top),
  };
}
