import { checkBoolean, checkKeys, checkNumber, invalid } from "../checks.js";
import { dtypes, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/** Choices of `rope`. */
export interface RopeOptions {
  /** Angle i is position * base^(-2 i / headDim); >= 1, default 10,000. */
  base?: number;
  /** Rotates back: the backward pass; default false. */
  inverse?: boolean;
}

/**
 * Rotary position embedding (Su et al. 2021), half-split as in Llama and Qwen: elements i and
 * i + headDim / 2 of every head are turned by angle i. Angles are float64: late positions lose
 * nothing.
 *
 * @param x f32, bf16 or f16 [T, heads, headDim], headDim even and at most 512
 * @param positions i32 [T]
 * @returns as x
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function rope(
  engine: Engine,
  x: TensorLike,
  positions: TensorLike,
  options: RopeOptions = {},
): Tensor {
  checkKeys("options", options, ["base", "inverse"]);
  const base = checkNumber("base", options.base ?? 10_000, 1);
  const inverse = checkBoolean("inverse", options.inverse ?? false);
  return withInputs(engine, (inputs) => {
    const input = inputs.tensor("x", x, floats, [null, null, null]);
    const [tokens, heads, headDim] = input.shape as [number, number, number];
    if (headDim % 2 !== 0 || headDim > 512) {
      throw invalid("ERR_SHAPE", "x.shape[2] (head dimension)", "an even number <= 512", headDim);
    }
    const at = inputs.tensor("positions", positions, "i32", [tokens]);
    const y = inputs.empty(input.shape, input.dtype);
    engine.addon.rope(
      engine.handle,
      dtypes[input.dtype].code,
      tokens,
      heads,
      headDim,
      base,
      inverse,
      handle(at),
      handle(input),
      handle(y),
    );
    return y;
  });
}
