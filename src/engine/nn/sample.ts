import { checkBoolean, checkInteger, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import { checkTemperature, MAX_VOCAB } from "../kernels/logProb.js";
import type { Tensor } from "../tensor.js";

/** Choices of `sample`: by `uniform`, or greedy. */
export interface SampleOptions {
  /** f32 [T], each in [0, 1): where each row's cumulative distribution is inverted. */
  uniform?: TensorLike;
  /** Divides the logits; > 0, default 1. */
  temperature?: number;
  /** Takes the first maximum instead; default false. */
  greedy?: boolean;
}

/**
 * One token per row from softmax(logits / temperature): the smallest v whose cumulative probability
 * exceeds uniform[t]. Tokens with logit -inf are never drawn. Rows with NaN, +inf or nothing but -inf
 * give -1 and are reported (Engine's `onFault`).
 *
 * @param logits f32 [T, V], V at most 2^20
 * @returns i32 [T]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function sample(engine: Engine, logits: TensorLike, options: SampleOptions): Tensor {
  checkKeys("options", options, ["uniform", "temperature", "greedy"]);
  const greedy = checkBoolean("greedy", options.greedy ?? false);
  const temperature = checkTemperature(options.temperature);
  if (greedy !== (options.uniform === undefined)) {
    const expected = greedy ? "nothing (greedy is true)" : "a number in [0, 1) per row";
    throw invalid("ERR_OPTION", "uniform", expected, options.uniform);
  }
  if (greedy && options.temperature !== undefined) {
    throw invalid("ERR_OPTION", "temperature", "nothing (greedy is true)", options.temperature);
  }
  return withInputs(engine, (inputs) => {
    const z = inputs.tensor("logits", logits, "f32", [null, null]);
    const [rows, vocab] = z.shape as [number, number];
    checkInteger("logits.shape[1] (vocabulary)", vocab, 1, MAX_VOCAB);
    const uniform = inputs.optional("uniform", options.uniform, "f32", [rows]);
    const tokens = inputs.empty([rows], "i32");
    engine.addon.sample(
      engine.handle,
      rows,
      vocab,
      1 / Math.fround(temperature), // as log_prob does: one rounding of the same number
      greedy,
      handle(z),
      handle(uniform),
      handle(tokens),
    );
    return tokens;
  });
}
