import { checkInteger, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, type Out, withInputs } from "../inputs.js";
import { Tensor } from "../tensor.js";
import {
  checkExtras,
  type LogitRowsOptions,
  type LogProbResult,
  logitRows,
  MAX_VOCAB,
  outputHandles,
  outputs,
} from "./logProbRows.js";

/** Shards of one merge; LogProbMergeArgs of native/kernels/log_prob/log_prob.h has as many places. */
const MAX_SHARDS = 64;

/**
 * What a partial holds of a row, f64 each, in this order. With x a logit as it is stored and
 * u = (x - max) log2(e) / temperature:
 *
 * - max: the largest x, -inf where all are -inf
 * - sum, weighted: over the shard's columns, of 2^u and of u 2^u
 * - total: the sum of x
 * - target: the target's x, +inf where the target is not in the shard
 * - inverseTemperature: 1 / temperature; 0 in a masked row, where everything is 0
 *
 * A shard with NaN or +inf has NaN in the first four, one with a temperature out of range also in the
 * last.
 */
export const logProbPartialFields = [
  "max",
  "sum",
  "weighted",
  "total",
  "target",
  "inverseTemperature",
] as const;

export interface LogProbPartialOptions extends LogitRowsOptions {
  /** Where the shard's first column stands in the whole vocabulary. */
  vocabStart: number;
  /** Written instead of a new tensor. */
  out?: Tensor;
}

/**
 * What a shard of the vocabulary, as tensor-parallel heads have it, knows of its rows. The partials of
 * all shards, gathered, make the log-probs (`logProbMerge`); nothing is reported before that.
 *
 * @param logits [T, Vs] f32, bf16 or f16: the shard's columns
 * @param targets i32 [T], numbered in the whole vocabulary
 * @returns f64 [T, 6], `logProbPartialFields`: 48 bytes a row
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function logProbPartial(
  engine: Engine,
  logits: TensorLike,
  targets: TensorLike,
  options: LogProbPartialOptions,
): Tensor {
  checkKeys("options", options, ["temperature", "mask", "columns", "vocabStart", "out"]);
  return withInputs(engine, (inputs) => {
    const rows = logitRows(inputs, logits, targets, options);
    const start = checkInteger("vocabStart", options.vocabStart, 0, MAX_VOCAB - rows.columns);
    const shape = [rows.tokens, logProbPartialFields.length];
    const out = inputs.result("out", options.out, "f64", shape);
    engine.addon.logProbPartial(engine.handle, ...rows.arguments, start, handle(out));
    return out;
  });
}

/** Choices of `logProbMerge`. */
export interface LogProbMergeOptions {
  /** Columns of all shards together, at most 2^20. */
  vocab: number;
  /** Also the entropy of each row; default false. */
  entropy?: boolean;
  /** Also the mean of log p over the vocabulary of each row; default false. */
  vocabMean?: boolean;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<LogProbResult>;
}

/**
 * The log-probs of rows whose vocabulary is split, as `logProb` gives them for the whole. The shards are
 * merged in the order given: the same order gives the same bits, and one shard those of `logProb`.
 *
 * Reported as in `logProb`: NaN in any shard, nothing but -inf in all, a target in none; and, as a
 * parameter out of range, rows whose shards differ in mask or temperature. `logProbBackward` works on
 * each shard with the merged statistics, `vocabStart` and `vocab`.
 *
 * @param partials one f64 [T, 6] a shard, or all of them as one tensor [N, T, 6]; N at most 64
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function logProbMerge(
  engine: Engine,
  partials: Tensor | readonly TensorLike[],
  options: LogProbMergeOptions,
): LogProbResult {
  checkKeys("options", options, ["vocab", "entropy", "vocabMean", "out"]);
  const vocab = checkInteger("vocab", options.vocab, 1, MAX_VOCAB);
  const asked = checkExtras(options);
  return withInputs(engine, (inputs) => {
    const shards = shardsOf(inputs, partials);
    const tokens = shards[0]!.shape[0]!;
    const out = outputs(inputs, tokens, asked, options.out);
    engine.addon.logProbMerge(
      engine.handle,
      tokens,
      vocab,
      shards.length,
      ...shards.map((shard) => handle(shard)),
      ...outputHandles(out),
    );
    return out;
  });
}

/** Tensors [T, 6], with the same T. */
function shardsOf(inputs: Inputs, partials: unknown): Tensor[] {
  const fields = logProbPartialFields.length;
  if (partials instanceof Tensor) {
    const all = inputs.tensor("partials", partials, "f64", [null, null, fields]);
    const [count, tokens] = all.shape as [number, number];
    checkInteger("partials.shape[0] (shards)", count, 1, MAX_SHARDS);
    return Array.from({ length: count }, (_, i) => {
      const shard = inputs.temporary(all.rows(i, i + 1));
      return inputs.temporary(shard.view([tokens, fields]));
    });
  }
  if (!Array.isArray(partials)) {
    throw invalid("ERR_DTYPE", "partials", "a tensor or an array of one per shard", partials);
  }
  checkInteger("partials.length (shards)", partials.length, 1, MAX_SHARDS);
  let tokens: number | null = null;
  // Not partials.map: it would pass over holes.
  return Array.from(partials, (partial: TensorLike, i) => {
    const shard = inputs.tensor(`partials[${i}]`, partial, "f64", [tokens, fields]);
    tokens = shard.shape[0]!;
    return shard;
  });
}
