import { checkBoolean, checkInteger, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/** The largest vocabulary of a row. */
export const MAX_VOCAB = 2 ** 20;

const floats = ["f32", "bf16", "f16"] as const;

export interface LogProbOptions {
  /** Divides the logits; > 0, default 1. */
  temperature?: number;
  /** u8 [T]: rows with 0 are not read, their outputs are 0. */
  mask?: TensorLike | null;
  /** Also the entropy of each row; default false. */
  entropy?: boolean;
}

export interface LogProbResult {
  /** f32 [T]: log-probability of the target under softmax(logits / temperature). */
  logProb: Tensor;
  /** f32 [T] in nats, or null when not asked for. */
  entropy: Tensor | null;
  /** f32 [T, 2]: maximum and log2 of the sum relative to it, which the backward pass needs. */
  stats: Tensor;
}

/**
 * Log-probability of one target per row, with entropy, in one pass over the logits.
 *
 * A row's result depends on its own values and on V alone. Rows with NaN, +inf or nothing but -inf,
 * and targets outside [0, V), give NaN and are reported (Engine's `onFault`).
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
  checkKeys("options", options, ["temperature", "mask", "entropy"]);
  const temperature = checkTemperature(options.temperature);
  const entropy = checkBoolean("entropy", options.entropy ?? false);
  return withInputs(engine, (inputs) => {
    const z = checkLogits(inputs, "logits", logits);
    const [tokens, vocab] = z.shape as [number, number];
    const y = inputs.tensor("targets", targets, "i32", [tokens]);
    const mask = inputs.optional("mask", options.mask, "u8", [tokens]);
    const out = {
      logProb: engine.empty([tokens]),
      entropy: entropy ? engine.empty([tokens]) : null,
      stats: engine.empty([tokens, 2]),
    };
    engine.addon.logProbForward(
      engine.handle,
      tokens,
      vocab,
      vocab,
      dtypes[z.dtype].code,
      1 / temperature,
      handle(z),
      handle(y),
      handle(mask),
      handle(out.logProb),
      handle(out.entropy),
      handle(out.stats),
    );
    return out;
  });
}

export interface LogProbBackwardInputs {
  /** [T, V], as in the forward call. */
  logits: Tensor;
  targets: TensorLike;
  /** f32 [T, 2] of the forward call. */
  stats: Tensor;
  /** f32 [T]: gradient with respect to the log-probs. */
  dLogProb: TensorLike;
  /** f32 [T]: gradient with respect to the entropies; needs `entropy`. */
  dEntropy?: TensorLike | null;
  /** f32 [T] of the forward call. */
  entropy?: TensorLike | null;
  temperature?: number;
  mask?: TensorLike | null;
  /** Written instead of a new tensor; may be `logits`. */
  out?: Tensor;
}

/**
 * Gradient with respect to the logits, in the logits' dtype, rounded once. Masked and faulty rows get
 * exact zeros.
 *
 * @returns [T, V]: `out`, or a new tensor
 * @throws FiresteelError as `logProb`
 */
export function logProbBackward(engine: Engine, args: LogProbBackwardInputs): Tensor {
  checkKeys("the argument", args, [
    "logits",
    "targets",
    "stats",
    "dLogProb",
    "dEntropy",
    "entropy",
    "temperature",
    "mask",
    "out",
  ]);
  const temperature = checkTemperature(args.temperature);
  return withInputs(engine, (inputs) => {
    const z = checkLogits(inputs, "logits", args.logits);
    const [tokens, vocab] = z.shape as [number, number];
    const targets = inputs.tensor("targets", args.targets, "i32", [tokens]);
    const stats = inputs.tensor("stats", args.stats, "f32", [tokens, 2]);
    const dLogProb = inputs.tensor("dLogProb", args.dLogProb, "f32", [tokens]);
    const dEntropy = inputs.optional("dEntropy", args.dEntropy, "f32", [tokens]);
    const entropy = inputs.optional("entropy", args.entropy, "f32", [tokens]);
    const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
    if (dEntropy !== null && entropy === null) {
      throw invalid(
        "ERR_OPTION",
        "entropy",
        "the forward call's entropy (dEntropy is given)",
        null,
      );
    }
    const out =
      args.out === undefined
        ? engine.empty(z.shape, z.dtype)
        : inputs.tensor("out", args.out, z.dtype, z.shape);
    engine.addon.logProbBackward(
      engine.handle,
      tokens,
      vocab,
      vocab,
      vocab,
      dtypes[z.dtype].code,
      1 / temperature,
      handle(z),
      handle(targets),
      handle(mask),
      handle(stats),
      handle(dLogProb),
      handle(dEntropy),
      handle(entropy),
      handle(out),
    );
    return out;
  });
}

function checkLogits(inputs: Inputs, name: string, logits: TensorLike): Tensor {
  const tensor = inputs.tensor(name, logits, floats, [null, null]);
  checkInteger(`${name}.shape[1] (vocabulary)`, tensor.shape[1], 1, MAX_VOCAB);
  return tensor;
}

/** Both the temperature and its inverse must be ordinary floats. */
export function checkTemperature(temperature = 1): number {
  return checkNumber("temperature", temperature, 1e-30, 1e30);
}
