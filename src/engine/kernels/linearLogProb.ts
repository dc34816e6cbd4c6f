import type { Addon, TensorHandle } from "../addon.js";
import { checkBoolean, checkInteger, checkKeys, invalid } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { FiresteelError } from "../error.js";
import { handle, type Inputs, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import { checkChunk, MAX_HIDDEN, MAX_TOKENS } from "./linearLogProbMemory.js";
import { type OperandType, operandTypes, refuseOperands } from "./linearLogProbTable.js";
import { checkPair } from "./logProb.js";
import {
  checkExtras,
  type LogProbResult,
  MAX_VOCAB,
  outputHandles,
  outputs,
  rowTemperature,
} from "./logProbRows.js";

const floats = Object.keys(operandTypes) as OperandType[];

/** What both passes take. */
export interface LinearLogProbSettings {
  /**
   * Divides the logits: one number, or f32 [T], one a row. Each in [1e-30, 1e30], default 1. Data on
   * the host is checked at once; a tensor's value out of range is a fault of its row.
   */
  temperature?: number | TensorLike;
  /** u8 [T]: rows with 0 are not computed, their outputs and gradients are 0. */
  mask?: TensorLike | null;
  /**
   * Bytes of logits, which are f32, held at a time; default 32 MiB, on CUDA 256 MiB. Changes no bit of
   * any result. At least one row on CUDA; on the CPU 4,096 logits of a row and 256 of 256 rows (256 KiB),
   * where V and T are as many.
   */
  chunkBytes?: number;
}

export interface LinearLogProbOptions extends LinearLogProbSettings {
  /** Also the entropy of each row; default false. */
  entropy?: boolean;
  /** Also the mean of log p over the vocabulary of each row; default false. */
  vocabMean?: boolean;
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<LogProbResult>;
}

/**
 * Log-probability of one target per row under softmax(hidden weight^T / temperature), with entropy and
 * vocabulary mean, without ever holding the [T, V] logits: for old and reference policies, and as the
 * forward half of training. What it takes beyond its results is known before: `linearLogProbMemory`.
 *
 * A row's result depends on its own values, the weight and V alone; it has the bits of `matmul` and
 * `logProb` on all logits. Rows with NaN or infinity, targets outside [0, V) and temperatures out of
 * range give NaN and are reported (Engine's `onFault`).
 *
 * @param hidden [T, H] f32, bf16 or f16
 * @param weight [V, H] of hidden's dtype; V at most 2^20
 * @param targets i32 [T]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 *
 * @example
 * const { logProb, stats } = linearLogProb(engine, hidden, head, targets, { temperature: 0.8 });
 */
export function linearLogProb(
  engine: Engine,
  hidden: TensorLike,
  weight: TensorLike,
  targets: TensorLike,
  options: LinearLogProbOptions = {},
): LogProbResult {
  checkKeys("options", options, [
    "temperature",
    "mask",
    "entropy",
    "vocabMean",
    "chunkBytes",
    "out",
  ]);
  const asked = checkExtras(options);
  return withInputs(engine, (inputs) => {
    const head = checkHead(inputs, { ...options, hidden, weight, targets }, engine.addon);
    const out = outputs(inputs, head.tokens, asked, options.out);
    engine.addon.linearLogProbForward(engine.handle, ...head.arguments, ...outputHandles(out));
    return out;
  });
}

export interface LinearLogProbBackwardInputs extends LinearLogProbSettings {
  /** [T, H], as in the forward call; so are weight, targets, temperature and mask. */
  hidden: TensorLike;
  weight: TensorLike;
  targets: TensorLike;
  /** f32 [T, 2] of the forward call. */
  stats: TensorLike;
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
  /** f32 [T, H], written instead of a new tensor. */
  dHidden?: Tensor;
  /** f32 [V, H], written instead of a new tensor; null: not computed, the head is frozen. */
  dWeight?: Tensor | null;
  /**
   * The sums start from what dHidden and dWeight (where it is not null) hold, which must then be given;
   * default false.
   */
  accumulate?: boolean;
}

/** What `linearLogProbBackward` makes. */
export interface LinearLogProbGradients {
  /** f32 [T, H]: `dHidden`, or a new tensor. */
  dHidden: Tensor;
  /** f32 [V, H]: `dWeight`, or a new tensor; null where it was not asked for. */
  dWeight: Tensor | null;
}

/**
 * Gradients with respect to hidden states and weight. Logits are made again, a chunk at a time, and
 * become their gradient in place. Of dLogProb, dEntropy and dVocabMean at least one is given.
 *
 * dHidden of a row depends on that row alone. dWeight is summed over rows in their order, on the CPU in
 * blocks of 256 rows with a gradient, on CUDA in one chain; neither depends on `chunkBytes`. Masked and
 * faulty rows have no gradient, whatever stands in them. On the CPU such rows, and those where what
 * comes from above is 0, cost nothing.
 *
 * @throws FiresteelError as `linearLogProb`
 */
export function linearLogProbBackward(
  engine: Engine,
  args: LinearLogProbBackwardInputs,
): LinearLogProbGradients {
  checkKeys("the argument", args, [
    "hidden",
    "weight",
    "targets",
    "stats",
    "dLogProb",
    "dEntropy",
    "entropy",
    "dVocabMean",
    "vocabMean",
    "temperature",
    "mask",
    "chunkBytes",
    "dHidden",
    "dWeight",
    "accumulate",
  ]);
  const accumulate = checkBoolean("accumulate", args.accumulate ?? false);
  return withInputs(engine, (inputs) => {
    const head = checkHead(inputs, args, engine.addon);
    const { tokens, hidden, weight } = head;
    const stats = inputs.tensor("stats", args.stats, "f32", [tokens, 2]);
    const perRow = (name: "dLogProb" | "dEntropy" | "entropy" | "dVocabMean" | "vocabMean") =>
      inputs.optional(name, args[name], "f32", [tokens]);
    const [dLogProb, dEntropy, entropy] = [
      perRow("dLogProb"),
      perRow("dEntropy"),
      perRow("entropy"),
    ];
    const [dVocabMean, vocabMean] = [perRow("dVocabMean"), perRow("vocabMean")];
    checkPair("entropy", entropy, "dEntropy", dEntropy);
    checkPair("vocabMean", vocabMean, "dVocabMean", dVocabMean);
    if (dLogProb === null && dEntropy === null && dVocabMean === null) {
      throw invalid("ERR_OPTION", "gradients", "dLogProb, dEntropy or dVocabMean", null);
    }
    const sum = (name: "dHidden" | "dWeight", like: Tensor): Tensor => {
      const given = args[name];
      if (!accumulate || (given !== undefined && given !== null)) {
        return inputs.result(name, given, "f32", like.shape);
      }
      const expected = `a tensor${name === "dWeight" ? " or null" : ""} (accumulate is true)`;
      throw invalid("ERR_OPTION", name, expected, given);
    };
    const dHidden = sum("dHidden", hidden);
    const dWeight = args.dWeight === null ? null : sum("dWeight", weight);
    engine.addon.linearLogProbBackward(
      engine.handle,
      ...head.arguments,
      handle(stats),
      handle(dLogProb),
      handle(dEntropy),
      handle(entropy),
      handle(dVocabMean),
      handle(vocabMean),
      accumulate,
      handle(dHidden),
      handle(dWeight),
    );
    return { dHidden, dWeight };
  });
}

/** Checked rows under a head, and the positional arguments that stand for them. */
interface Head {
  hidden: Tensor;
  weight: Tensor;
  tokens: number;
  arguments: (number | TensorHandle | null)[];
}

function checkHead(
  inputs: Inputs,
  args: LinearLogProbSettings & { hidden: TensorLike; weight: TensorLike; targets: TensorLike },
  addon: Addon,
): Head {
  const hidden = inputs.tensor("hidden", args.hidden, floats, [null, null]);
  const [tokens, width] = hidden.shape as [number, number];
  checkInteger("hidden.shape[0] (tokens)", tokens, 0, MAX_TOKENS);
  checkInteger("hidden.shape[1] (width)", width, 1, MAX_HIDDEN);
  const weight = inputs.tensor("weight", args.weight, floats, [null, width]);
  const refusal = refuseOperands(hidden.dtype as OperandType, weight.dtype as OperandType);
  if (refusal !== null) {
    throw new FiresteelError(
      "ERR_DTYPE",
      `hidden: "${hidden.dtype}" with weight: "${weight.dtype}" is refused: ${refusal.reason} ` +
        `(nearest: ${refusal.nearest})`,
    );
  }
  const vocab = checkInteger("weight.shape[0] (vocabulary)", weight.shape[0], 1, MAX_VOCAB);
  const sizes = [tokens, vocab, width, dtypes[hidden.dtype].code] as const;
  const { least } = addon.linearLogProbMemory(...sizes, 0);
  const temperature = rowTemperature(inputs, args.temperature, tokens);
  const targets = inputs.tensor("targets", args.targets, "i32", [tokens]);
  const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
  return {
    hidden,
    weight,
    tokens,
    arguments: [
      ...sizes,
      checkChunk(args.chunkBytes, least),
      temperature.scalar,
      handle(temperature.rows),
      handle(hidden),
      handle(weight),
      handle(targets),
      handle(mask),
    ],
  };
}
