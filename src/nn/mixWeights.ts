import { checkNumber } from "../engine/checks.js";
import type { Engine } from "../engine/engine.js";
import { scale } from "../engine/nn/elementwise.js";
import type { Tensor } from "../engine/tensor.js";

/**
 * reference = alpha * current + (1 - alpha) * reference, in place: one step of an exponential moving
 * average with decay 1 - alpha, or a copy where alpha is 1 (TR-DPO, arXiv 2404.09656; as TRL's
 * ref_model_mixup_alpha).
 *
 * @param reference f32, bf16 or f16, any shape; in 16 bits a change of less than about 1/256 (bf16) or
 *   1/2048 (f16) of a weight is rounded away
 * @param current as reference
 * @param alpha in [0, 1]
 * @throws FiresteelError ERR_RANGE, ERR_SHAPE, ERR_DTYPE, ERR_DISPOSED
 */
export function mixWeights(
  engine: Engine,
  reference: Tensor,
  current: Tensor,
  alpha: number,
): void {
  checkNumber("alpha", alpha, 0, 1);
  if (alpha < 1) scale(engine, 1 - alpha, reference, { out: reference });
  scale(engine, alpha, current, { out: reference, accumulate: alpha < 1 });
}
