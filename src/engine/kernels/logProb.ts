import { checkInteger, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import {
  checkExtras,
  type LogitRowsOptions,
  type LogProbResult,
  logitRows,
  MAX_VOCAB,
  outputHandles,
  outputs,
} from "./logProbRows.js";

export {
  checkTemperature,
  type LogitRowsOptions,
  type LogProbResult,
  MAX_VOCAB,
} from "./logProbRows.js";

export interface LogProbOptions extends LogitRowsOptions {
  /** Also the entropy of each row; default false. */
  entropy?: boolean;
  /** Also the mean of log p over the vocabulary of each row; default false. */
  vocabMean?: boolean;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<LogProbResult>;
}

/**
 * Log-probability of one target per row, with entropy and vocabulary mean (a state's value in ROVER, He
 * et al. 2025, arXiv 2509.24981), in one pass over the logits.
 *
 * A row's result depends on its own values and on V alone. Rows with NaN, +inf or nothing but -inf,
 * targets outside [0, V) and temperatures out of range give NaN and are reported (Engine's `onFault`).
 *
 * @param logits [T, V] f32, bf16 or f16; V at most 2^20
 * @param targets i32 [T]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function logProb(
  engine: Engine,
  logits: TensorLike,
  targets: TensorLike,
  options: LogProbOptions = {},
): LogProbResult {
  checkKeys("options", options, ["temperature", "mask", "columns", "entropy", "vocabMean", "out"]);
  const asked = checkExtras(options);
  return withInputs(engine, (inputs) => {
    const rows = logitRows(inputs, logits, targets, options);
    const out = outputs(inputs, rows.tokens, asked, options.out);
    engine.addon.logProbForward(engine.handle, ...rows.arguments, ...outputHandles(out));
    return out;
  });
}

export interface LogProbBackwardInputs extends LogitRowsOptions {
  /** [T, V], as in the forward call; so are targets, temperature, mask and columns. */
  logits: Tensor;
  targets: TensorLike;
  /** f32 [T, 2] of the forward call. */
  stats: Tensor;
  /** f32 [T]: gradient with respect to the log-probs. */
  dLogProb?: TensorLike | null;
  /** f32 [T]: gradient with respect to the entropies; needs `entropy`. */
  dEntropy?: TensorLike | null;
  /** f32 [T] of the forward call. */
  entropy?: TensorLike | null;
  /** f32 [T]: gradient with respect to the vocabulary means; needs `vocabMean`. */
  dVocabMean?: TensorLike | null;
  /** f32 [T] of the forward call. */
  vocabMean?: TensorLike | null;
  /** Of the first column of `logits`, where they are a shard of the vocabulary; with `vocab`. */
  vocabStart?: number;
  /** Columns of all shards together; with `vocabStart`. */
  vocab?: number;
  /** Written instead of a new tensor: [T, at least V] of the logits' dtype; may be `logits`. */
  out?: Tensor;
}

/**
 * Gradient with respect to the logits, in the logits' dtype, rounded once. Of dLogProb, dEntropy and
 * dVocabMean at least one is given. Masked and faulty rows get exact zeros; a logit of -inf adds nothing
 * to the entropy's gradient, and its row nothing to the vocabulary mean's.
 *
 * @returns `out`, or a new tensor [T, V]
 * @throws FiresteelError as `logProb`
 */
export function logProbBackward(engine: Engine, args: LogProbBackwardInputs): Tensor {
  checkKeys("the argument", args, [
    "logits",
    "targets",
    "temperature",
    "mask",
    "columns",
    "stats",
    "dLogProb",
    "dEntropy",
    "entropy",
    "dVocabMean",
    "vocabMean",
    "vocabStart",
    "vocab",
    "out",
  ]);
  return withInputs(engine, (inputs) => {
    const rows = logitRows(inputs, args.logits, args.targets, args);
    const { tokens, columns } = rows;
    const shard = checkShard(args, columns);
    const stats = inputs.tensor("stats", args.stats, "f32", [tokens, 2]);
    const perRow = (name: "dLogProb" | "dEntropy" | "entropy" | "dVocabMean" | "vocabMean") =>
      inputs.optional(name, args[name], "f32", [tokens]);
    const dLogProb = perRow("dLogProb");
    const [dEntropy, entropy] = [perRow("dEntropy"), perRow("entropy")];
    const [dVocabMean, vocabMean] = [perRow("dVocabMean"), perRow("vocabMean")];
    checkPair("entropy", entropy, "dEntropy", dEntropy);
    checkPair("vocabMean", vocabMean, "dVocabMean", dVocabMean);
    if (dLogProb === null && dEntropy === null && dVocabMean === null) {
      throw invalid("ERR_OPTION", "gradients", "dLogProb, dEntropy or dVocabMean", null);
    }
    const shape = [tokens, args.out == null ? columns : null];
    const out = inputs.result("out", args.out, rows.dtype, shape, [rows.logits]);
    if (out.shape[1]! < columns) {
      const expected = `shape [${tokens}, at least ${columns}]`;
      throw invalid("ERR_SHAPE", "out", expected, `[${out.shape.join(", ")}]`);
    }
    engine.addon.logProbBackward(
      engine.handle,
      ...rows.arguments,
      shard.start,
      shard.vocab,
      out.shape[1]!,
      handle(stats),
      handle(dLogProb),
      handle(dEntropy),
      handle(entropy),
      handle(dVocabMean),
      handle(vocabMean),
      handle(out),
    );
    return out;
  });
}

function checkShard(
  { vocabStart, vocab }: { vocabStart?: number; vocab?: number },
  columns: number,
): { start: number; vocab: number } {
  if (vocabStart === undefined && vocab === undefined) return { start: 0, vocab: columns };
  if (vocabStart === undefined || vocab === undefined) {
    const [missing, given] =
      vocab === undefined ? ["vocab", "vocabStart"] : ["vocabStart", "vocab"];
    throw invalid("ERR_OPTION", missing!, `a number beside ${given}`, undefined);
  }
  checkInteger("vocab", vocab, columns, MAX_VOCAB);
  return { start: checkInteger("vocabStart", vocabStart, 0, vocab - columns), vocab };
}

/** @internal A gradient with respect to an output needs that output, which by itself has no use. */
export function checkPair(
  name: string,
  value: Tensor | null,
  gradientName: string,
  gradient: Tensor | null,
): void {
  if (gradient !== null && value === null) {
    const expected = `the forward call's ${name} (${gradientName} is given)`;
    throw invalid("ERR_OPTION", name, expected, null);
  }
  if (gradient === null && value !== null) {
    throw invalid("ERR_OPTION", name, `nothing (${gradientName} is not given)`, value);
  }
}
