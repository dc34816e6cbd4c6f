import { checkChoice, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { FiresteelError } from "../error.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { OffsetsLike } from "../offsets.js";
import type { Tensor } from "../tensor.js";
import { type Pooling, poolings, type RowTerm, refuseTerm, rowTerms } from "./rowScoreTable.js";

const terms = Object.keys(rowTerms) as RowTerm[];
const poolingNames = Object.keys(poolings) as Pooling[];

/** What `rowScore` takes. T tokens in R rows. */
export interface RowScoreInputs {
  /** f32 [T]: under the policy being trained. */
  logProb: TensorLike;
  /** f32 [T]: under the old policy (REAL, Reg-GRPO) or the reference (DPO, IPO). Default: 0. */
  baseLogProb?: TensorLike | null;
  /** u8 [T]: 1 = trained. */
  mask?: TensorLike | null;
  /** `[R + 1]`: row r holds tokens `rowOffsets[r]` to `rowOffsets[r + 1]`. */
  rowOffsets: OffsetsLike;
}

/** Choices of `rowScore`. */
export interface RowScoreOptions {
  /** "mean" over trained tokens (REAL, DRPO, IPO as in TRL) or "sum" (DPO, Reg-GRPO). */
  pooling: Pooling;
  /**
   * What a token gives, x = logProb - baseLogProb: default "log-ratio", which is x. "k1" (-x) and "k3"
   * (exp(x) - 1 - x) estimate KL(base || policy) and need `baseLogProb`.
   */
  term?: RowTerm;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<RowScoreResult>;
}

/** What `rowScore` makes. */
export interface RowScoreResult {
  /** f64 [R]: 0 for a row without trained tokens, NaN for a faulty one. */
  score: Tensor;
  /** f64 [R]: what the gradient of a trained token is multiplied by; for `rowScoreBackward`. */
  tokenWeight: Tensor;
  /** i32 [R]: how many tokens of the row are trained; what DRPO takes as `lengths`. */
  trainedTokens: Tensor;
}

/**
 * One score a row from its tokens' log-probs: the mean or the sum over trained tokens. The first pass
 * of an objective that couples rows; `groupLoss` follows, then `rowScoreBackward`.
 *
 * Float64, in an order that the row's length alone decides. Masked tokens change nothing, whatever
 * stands there. A row with a trained token whose term is not finite scores NaN, gets gradient 0 and is
 * reported (Engine's `onFault`).
 *
 * @example
 * const rows = { mask, rowOffsets };
 * const { score, tokenWeight } = rowScore(engine, { logProb, baseLogProb, ...rows }, { pooling: "mean" });
 * const { loss, dScore } = groupLoss(engine, { score, reward, groupOffsets }, { kind: "real" });
 * const dLogProb = rowScoreBackward(engine, { dScore, tokenWeight, ...rows });
 *
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function rowScore(
  engine: Engine,
  args: RowScoreInputs,
  options: RowScoreOptions,
): RowScoreResult {
  checkKeys("inputs", args, ["logProb", "baseLogProb", "mask", "rowOffsets"]);
  checkKeys("options", options, ["pooling", "term", "out"]);
  const pooling = checkChoice("pooling", options.pooling, poolingNames);
  const term = checkTerm(options.term);
  const base = args.baseLogProb ?? null;
  const refusal = refuseTerm(term, base !== null);
  if (refusal !== null) {
    throw new FiresteelError(
      "ERR_OPTION",
      `term "${term}" without baseLogProb is refused: ${refusal.reason}; give ${refusal.nearest}`,
    );
  }
  return withInputs(engine, (inputs) => {
    const bounds = inputs.offsets("rowOffsets", args.rowOffsets);
    const { total: tokens, rows } = bounds;
    const logProb = inputs.tensor("logProb", args.logProb, "f32", [tokens]);
    const baseLogProb = inputs.optional("baseLogProb", base, "f32", [tokens]);
    const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
    const out = inputs.results(options.out, {
      score: ["f64", [rows]],
      tokenWeight: ["f64", [rows]],
      trainedTokens: ["i32", [rows]],
    });
    engine.addon.rowScore(
      engine.handle,
      tokens,
      rows,
      terms.indexOf(term),
      poolingNames.indexOf(pooling),
      handle(bounds),
      handle(logProb),
      handle(baseLogProb),
      handle(mask),
      handle(out.score),
      handle(out.tokenWeight),
      handle(out.trainedTokens),
    );
    return out;
  });
}

/** What `rowScoreBackward` takes. T tokens in R rows. */
export interface RowScoreBackwardInputs {
  /** f64 [R]: gradient with respect to the scores. */
  dScore: TensorLike;
  /** f64 [R] of the forward call. */
  tokenWeight: TensorLike;
  /** As in the forward call. */
  mask?: TensorLike | null;
  rowOffsets: OffsetsLike;
  /** f32 [T], as in the forward call; for term "k3" only, the other terms are linear. */
  logProb?: TensorLike | null;
  baseLogProb?: TensorLike | null;
}

/** Choices of `rowScoreBackward`; `term` as in the forward call. */
export interface RowScoreBackwardOptions extends Pick<RowScoreOptions, "term"> {
  /** f32 [T], written instead of a new tensor. */
  out?: Tensor;
}

/**
 * Gradient with respect to the log-probs, from that with respect to the scores. Masked tokens, rows
 * without trained tokens and faulty rows get exact zeros, whatever their dScore. A token whose gradient
 * is not a finite float gets 0 and its row is reported.
 *
 * @param options `term` as in the forward call; `out`
 * @returns f32 [T]: `out`, or a new tensor
 * @throws FiresteelError as `rowScore`
 */
export function rowScoreBackward(
  engine: Engine,
  args: RowScoreBackwardInputs,
  options: RowScoreBackwardOptions = {},
): Tensor {
  checkKeys("inputs", args, [
    "dScore",
    "tokenWeight",
    "mask",
    "rowOffsets",
    "logProb",
    "baseLogProb",
  ]);
  checkKeys("options", options, ["term", "out"]);
  const term = checkTerm(options.term);
  for (const name of ["logProb", "baseLogProb"] as const) {
    const given = args[name] ?? null;
    if ((given !== null) === (term === "k3")) continue;
    const expected = term === "k3" ? 'log-probs (term is "k3")' : `nothing (term is "${term}")`;
    throw invalid("ERR_OPTION", name, expected, given);
  }
  return withInputs(engine, (inputs) => {
    const bounds = inputs.offsets("rowOffsets", args.rowOffsets);
    const { total: tokens, rows } = bounds;
    const dScore = inputs.tensor("dScore", args.dScore, "f64", [rows]);
    const tokenWeight = inputs.tensor("tokenWeight", args.tokenWeight, "f64", [rows]);
    const logProb = inputs.optional("logProb", args.logProb, "f32", [tokens]);
    const baseLogProb = inputs.optional("baseLogProb", args.baseLogProb, "f32", [tokens]);
    const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
    const dLogProb = inputs.result("out", options.out, "f32", [tokens]);
    engine.addon.rowScoreBackward(
      engine.handle,
      tokens,
      rows,
      handle(bounds),
      handle(logProb),
      handle(baseLogProb),
      handle(mask),
      handle(tokenWeight),
      handle(dScore),
      handle(dLogProb),
    );
    return dLogProb;
  });
}

function checkTerm(term: RowTerm = "log-ratio"): RowTerm {
  return checkChoice("term", term, terms);
}
